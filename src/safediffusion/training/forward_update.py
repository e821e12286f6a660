"""What algorithms on the forward process share: clean latents from any sampler, noised again and predicted.

No density and no trajectory is kept; guidance, if it is by two passes, is in the sampling alone.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.rollout import solve
from safediffusion.training import processes
from safediffusion.training.grpo import RATIO_FIELDS
from safediffusion.training.learner import Learner
from safediffusion.training.nft import nft_anchor
from safediffusion.training.shapes import shared_rows
from safediffusion.training.updates import Batch, RoundLog, micro_batches


@dataclass(frozen=True)
class Noised:
    """Noised rows of a round.

    Attributes:
        x: x_t, (n, c, h, w).
        t: noise levels, (n,).
        target: what was added, or the velocity, (n, c, h, w).
        weight: of an error, (n,).
        cond: text conditioning of n rows.
    """

    x: Tensor
    t: Tensor
    target: Tensor
    weight: Tensor
    cond: Condition


class ForwardProcess(ABC):
    """Samples without noise and learns from noised copies of the result."""

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        self.config, self.learner = config, learner
        self.diffuser = learner.diffuser
        self.process = self.diffuser.process
        self.schedule = self.process.schedule(config.rollout.steps)
        # a distilled network is told the guidance it samples with; others learn without guidance
        self.guidance = config.rollout.guidance if self.diffuser.distilled else 1.0
        self.noisy = max(1, round(config.train.timestep_fraction * self.process.levels))
        self.quiet = self.process.levels - self.noisy  # levels too clean to be trained
        self.clean: Tensor
        images = len(processes.share(config.rollout.prompts)) * config.rollout.group_size
        self.diffuser.call_rows = shared_rows(config, images, self.diffuser.distilled)

    @abstractmethod
    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """Loss of every row, (n,), and the policy's prediction, (n, c, h, w)."""

    @abstractmethod
    def after(self, step: int) -> None:
        """What becomes of the old copy after round `step`."""

    def describe(self) -> list[str]:
        """Lines for the log."""
        levels = f"the noisiest {self.noisy} of {self.process.levels} levels"
        return [f"trains on noise drawn from {levels}; samples without noise"]

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents of the deterministic, guided sampler, kept for the update."""
        rollout_config, seed = self.config.rollout, self.config.seed
        keys = [(noise.ROLLOUT, seed, batch.step, prompt, member) for prompt, member in batch.keys]
        start = noise.normal(keys, self.diffuser.latent_shape)
        self.clean = solve(
            self.diffuser,
            self.schedule,
            batch.drawn,
            start,
            guidance=rollout_config.guidance,
            batch_size=rollout_config.batch_size,
            solver=rollout_config.solver,
        )
        return self.clean

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on all images, each with its own noise levels; then the old copy follows."""
        train, device = self.config.train, self.diffuser.device
        log = RoundLog()
        for update in range(train.updates):
            keys = [(noise.FORWARD, self.config.seed, batch.step, *key, update) for key in batch.keys]
            t = self.quiet + noise.integers([(*key, 0) for key in keys], self.noisy).to(device)
            e = noise.normal([(*key, 1) for key in keys], self.diffuser.latent_shape).to(device)
            for rows in micro_batches(torch.arange(len(keys), device=device), train.micro_batch):
                noised = self._noised(batch.cond[rows], self.clean[rows], t[rows], e[rows])
                self._backward(noised, advantages[rows], batch.kl[rows], batch.total, log)
            log.norms.append(self.learner.descend())
        self.after(batch.step)
        log = log.everywhere()
        return {**self.ratios(log), **log.summary()}

    def ratios(self, log: RoundLog) -> dict[str, Any]:
        """Ratio statistics for the log; here there are none."""
        return dict.fromkeys(RATIO_FIELDS)

    def predict(self, rows: Noised) -> Tensor:
        """What the network as it is now makes of noised rows, in the terms of their target."""
        output = self.diffuser.predict(rows.x, self.process.timestep(rows.t), rows.cond, self.guidance)
        return self.process.predicted(output, rows.x, rows.t)

    def predict_old(self, rows: Noised) -> Tensor:
        """The same by the old copy."""
        with torch.no_grad(), self.learner.old_weights():
            return self.predict(rows)

    def _noised(self, cond: Condition, clean: Tensor, t: Tensor, e: Tensor) -> Noised:
        process = self.process
        return Noised(process.add_noise(clean, e, t), t, process.target(clean, e, t), process.weight(t), cond)

    def _backward(self, rows: Noised, advantages: Tensor, kl: Tensor, total: int, log: RoundLog) -> None:
        loss, predicted = self.loss(rows, advantages, log)
        if self.config.train.keeps_reference:
            with torch.no_grad(), self.diffuser.reference():
                ref = self.predict(rows)
            anchor = nft_anchor(predicted, ref, rows.weight)
            loss = loss + kl * anchor
            log.add_kl(self.process.timestep(rows.t) // 100 * 100, anchor)
        self.learner.backward(loss.sum() / total)
        log.add(loss, total)
