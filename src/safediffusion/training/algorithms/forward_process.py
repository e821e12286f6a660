"""The shared part of algorithms on the forward process: clean latents are noised again and predicted.

The latents may come from any sampler. No density and no trajectory is kept. Classifier-free guidance by two
passes happens in the sampling alone.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.activation_steering import Sampler
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.rollout import Sampling, solve
from safediffusion.system import distributed
from safediffusion.training.algorithms.algorithm import Algorithm, Batch, UpdateWork, micro_batches
from safediffusion.training.algorithms.call_size import shared_rows
from safediffusion.training.algorithms.grpo import RATIO_FIELDS
from safediffusion.training.algorithms.round_log import RoundLog
from safediffusion.training.learner import Learner


def reference_distance(predicted: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared distance to the reference's prediction, (n,): the KL's stand-in without a density.

    Args:
        predicted, reference: (n, c, h, w).
        weight: of each row's noise level, (n,).
    """
    return weight * (predicted - reference).square().flatten(1).mean(1)


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


def sampling_of(config: RunConfig) -> Sampling:
    """How a round samples without noise."""
    rollout = config.rollout
    return Sampling(rollout.guidance, rollout.batch_size, rollout.solver)


class ForwardProcess(Algorithm):
    """Samples without noise and learns from noised copies of the result."""

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        super().__init__(config, learner)
        self.process = self.diffuser.process
        self.schedule = self.process.schedule(config.rollout.steps)
        # the guidance is an input of a distilled network; other networks are trained without guidance
        self.guidance = config.rollout.guidance if self.diffuser.distilled else 1.0
        self.noisy = max(1, round(config.train.timestep_fraction * self.process.levels))
        self.quiet = self.process.levels - self.noisy  # levels too clean to be trained
        self.clean: Tensor
        images = len(distributed.share(config.rollout.prompts)) * config.rollout.group_size
        self.diffuser.call_rows = shared_rows(type(self), config, images, self.diffuser.distilled)

    @classmethod
    def update_work(cls, config: RunConfig, images: int) -> UpdateWork:
        """Every image once per optimizer step, and the old copy and the reference where they are kept."""
        train = config.train
        return UpdateWork(images * train.updates, cls.keeps_old_copy(config) + int(train.keeps_reference))

    @abstractmethod
    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """Loss of every row (n,), and the policy's prediction (n, c, h, w)."""

    @abstractmethod
    def after(self, step: int) -> None:
        """Update the old copy after round `step`."""

    def describe(self) -> list[str]:
        """Lines for the log."""
        levels = f"the noisiest {self.noisy} of {self.process.levels} levels"
        return [f"trains on noise drawn from {levels}; samples without noise"]

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents of the deterministic, guided sampler, kept for the update."""
        drawn = (noise.ROLLOUT, self.config.seed, batch.step)
        keys = [(*drawn, prompt, member) for prompt, member in batch.keys]
        start = noise.normal(keys, self.diffuser.latent_shape)
        sampling = sampling_of(self.config)
        if batch.steered:
            self.clean = self._sample_in_parts(batch, start, sampling)
        else:
            self.clean = solve(self.diffuser, self.schedule, batch.drawn_with, start, sampling)
        return self.clean

    def _sample_in_parts(self, batch: Batch, start: Tensor, sampling: Sampling) -> Tensor:
        """Clean latents of a batch some of whose rows are sampled with activation steering."""
        if self.steering is None:
            raise ValueError("set `steering` before a batch with steered rows is sampled")
        acting = self.steering.acting(self.diffuser, Sampler.of(self.diffuser, self.schedule, sampling))
        clean = torch.empty_like(start, device=self.diffuser.device)
        others = [row for row in range(len(start)) if row not in set(batch.steered)]
        for part, how in ((others, nullcontext()), (batch.steered, acting)):
            rows = torch.tensor(part, dtype=torch.long)
            if len(rows):
                with how:
                    cond = batch.drawn_with[rows.to(clean.device)]
                    clean[rows] = solve(self.diffuser, self.schedule, cond, start[rows], sampling)
        return clean

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on all images of the last sampling."""
        return self.learn(batch, self.clean, advantages)

    def learn(self, batch: Batch, clean: Tensor, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on clean latents (n, c, h, w), with noise by the batch's keys; then `after`."""
        train, device = self.config.train, self.diffuser.device
        log = RoundLog()
        for update in range(train.updates):
            keys = [(noise.FORWARD, self.config.seed, batch.step, *key, update) for key in batch.keys]
            t = self.quiet + noise.integers([(*key, 0) for key in keys], self.noisy).to(device)
            e = noise.normal([(*key, 1) for key in keys], self.diffuser.latent_shape).to(device)
            for rows in micro_batches(torch.arange(len(keys), device=device), train.micro_batch):
                noised = self._noised(batch.cond[rows], clean[rows], t[rows], e[rows])
                self._backward(noised, advantages[rows], batch.kl[rows], batch.total, log)
            log.norms.append(self.learner.optimizer_step())
        self.after(batch.step)
        log = log.all_gather()
        return {**self.ratios(log), **log.summary()}

    def ratios(self, log: RoundLog) -> dict[str, Any]:
        """Ratio statistics for the log; here there are none."""
        return dict.fromkeys(RATIO_FIELDS)

    def predict(self, rows: Noised) -> Tensor:
        """The network's prediction for noised rows, in the terms of their target (noise, v or velocity)."""
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
            distance = reference_distance(predicted, ref, rows.weight)
            loss = loss + kl * distance
            log.add_kl(self.process.timestep(rows.t) // 100 * 100, distance)
        self.learner.backward(loss.sum() / total)
        log.add(loss, total)
