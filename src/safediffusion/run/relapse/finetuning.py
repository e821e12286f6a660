"""Ordinary fine-tuning: the denoising loss on given pictures, all weights of the network, AdamW."""

from __future__ import annotations

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.run.relapse.pictures import Pictures
from safediffusion.training.algorithms.algorithm import micro_batches
from safediffusion.training.learner import Learner


class FineTuning:
    """Minimises |f(x_t) - target|^2 over noised pictures (Ho et al., 2020, eq. 14; or v, or the velocity).

    Every draw is named by seed, step and row, so a resumed fine-tuning takes the same steps.

    Args:
        diffuser: whose network is trained in place.
        pictures: to train on, drawn with replacement.
        config: settings of the training; its guidance is the input of a distilled network.
        batch: pictures per step.
    """

    def __init__(self, diffuser: Diffuser, pictures: Pictures, config: RunConfig, batch: int) -> None:
        self.diffuser, self.pictures, self.config, self.batch = diffuser, pictures, config, batch
        self.learner = Learner(config, diffuser)
        self.guidance = config.evaluate.guidance if diffuser.distilled else 1.0

    def step(self, number: int) -> float:
        """Optimizer step `number`, from 0; returns the mean loss."""
        rows, levels, e = self._draw(number)
        clean = self.pictures.latents[rows].to(self.diffuser.device)
        cond = self.diffuser.encode([self.pictures.captions[i] for i in rows.tolist()])
        total = 0.0
        for part in micro_batches(
            torch.arange(self.batch, device=clean.device), self.config.train.micro_batch
        ):
            t = levels[part]
            process, x0, added = self.diffuser.process, clean[part], e[part]
            x = process.add_noise(x0, added, t)
            output = self.diffuser.predict(x, process.timestep(t), cond[part], self.guidance)
            error = process.predicted(output, x, t) - process.target(x0, added, t)
            loss = error.square().flatten(1).mean(1).sum() / self.batch
            self.learner.backward(loss)
            total += loss.item()
        self.learner.optimizer_step()
        return total

    def _draw(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (batch,), noise levels (batch,) and noise (batch, c, h, w) of a step."""
        keys = [(noise.RELAPSE, self.config.seed, number, row) for row in range(self.batch)]
        rows = noise.integers([(*key, noise.PICTURE) for key in keys], len(self.pictures.captions))
        levels = noise.integers([(*key, noise.LEVEL) for key in keys], self.diffuser.process.levels)
        e = noise.normal([(*key, noise.ADDED) for key in keys], self.diffuser.latent_shape)
        return rows, levels.to(self.diffuser.device), e.to(self.diffuser.device)
