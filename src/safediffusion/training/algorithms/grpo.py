"""GRPO: the clipped objective on the sampled trajectory.

Sources: Schulman et al., 2017 (PPO), Shao et al., 2024 (GRPO), Xue et al., 2025 (on diffusion models).

The mathematics comes first, the algorithm that uses it below.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.gaussian import gaussian_kl, log_prob
from safediffusion.diffusion.rollout import Rollout, StochasticSampling, rollout, stochastic_steps
from safediffusion.errors import UserError
from safediffusion.system import distributed
from safediffusion.training.algorithms.algorithm import (
    Algorithm,
    Batch,
    UpdateWork,
    micro_batches,
    optimizer_batches,
)
from safediffusion.training.algorithms.call_size import shared_rows
from safediffusion.training.algorithms.round_log import RoundLog
from safediffusion.training.algorithms.timesteps import (
    step_weights,
    trainable_steps,
    trained_steps,
    window_eta,
)
from safediffusion.training.learner import Learner

RATIO_FIELDS = (
    "ratio_mean",
    "ratio_std",
    "ratio_max_dev",
    "clip_fraction_low",
    "clip_fraction_high",
    "approx_kl",
)


def grpo_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Pessimistic clipped surrogate of every sample, (n,) (Schulman et al., 2017, eq. 7).

    Args:
        log_prob: under the policy, mean over elements, (n,).
        old_log_prob: under the policy that sampled, (n,).
        advantages: (n,).
        clip_range: the ratio counts within 1 +- clip_range.
    """
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return (-advantages * ratio).maximum(-advantages * clipped)


def trust_region_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, kl: Tensor, outward: Tensor, limit: float
) -> tuple[Tensor, Tensor]:
    """Surrogate without a gradient for rows whose policy is `limit` away and would move further.

    A ratio mixes how far the policy moved with where in the noise the sample lies; the KL of two Gaussians of
    equal deviation is the move itself, exactly. An update that comes back is never stopped.

    Args:
        log_prob, old_log_prob, advantages: as in `grpo_loss`.
        kl: from the policy that sampled to the policy, mean over elements, (n,).
        outward: (sample - mean) . (mean - old mean), (n,): descent moves the mean along advantage times
            (sample - mean), so their product's sign says whether the KL would grow.
        limit: of the KL.

    Returns:
        The loss (n,), and which rows were stopped (n,).
    """
    stopped = (kl > limit) & (advantages * outward > 0)
    loss = -advantages * (log_prob - old_log_prob).exp()
    return loss.masked_fill(stopped, 0.0), stopped


def ratio_statistics(log_ratio: Tensor, clip_range: float) -> dict[str, float]:
    """Field names and values for the log, from log ratios (n,)."""
    ratio = log_ratio.exp()
    return {
        "ratio_mean": ratio.mean().item(),
        "ratio_std": ratio.std(correction=0).item(),
        "ratio_max_dev": (ratio - 1).abs().max().item(),
        "clip_fraction_low": (ratio < 1 - clip_range).float().mean().item(),
        "clip_fraction_high": (ratio > 1 + clip_range).float().mean().item(),
        "approx_kl": (log_ratio.expm1() - log_ratio).mean().item(),
    }


class Grpo(Algorithm):
    """Policy gradient on the sampled trajectory: every stochastic step has a density and a ratio."""

    needs_density: ClassVar[bool] = True

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        super().__init__(config, learner)
        self.schedule = self.diffuser.process.schedule(config.rollout.steps, config.rollout.sde)
        if not trainable_steps(self.schedule, config.rollout.eta):
            raise UserError(
                f"none of {config.rollout.steps} steps is random enough to be trained; raise rollout.steps "
                "or rollout.eta, or set train.algorithm=nft"
            )
        self.guided = config.train.cfg_update or self.diffuser.distilled
        weights = step_weights(self.schedule, config.rollout.eta)
        self.weights = weights if config.train.balance_steps else torch.ones_like(weights)
        self.rollout: Rollout
        self.eta: list[float]
        images = len(distributed.share(config.rollout.prompts)) * config.rollout.group_size
        self.diffuser.call_rows = shared_rows(type(self), config, images, self.diffuser.distilled)

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse a deterministic sampler, branches without a window, and more optimizer steps than images.

        Raises:
            UserError: with what to set instead.
        """
        images = config.rollout.prompts * config.rollout.group_size
        if config.rollout.eta == 0:
            raise UserError(
                "rollout.eta is 0, but grpo needs a stochastic sampler; "
                "set rollout.eta=1 or train.algorithm=nft"
            )
        if config.rollout.branches and not config.train.window:
            raise UserError(
                "rollout.branches shares the steps before grpo's window; set train.window=2, "
                "or rollout.branches=0"
            )
        if config.train.updates > images:
            raise UserError(
                f"train.updates is {config.train.updates}, but the {images} images of a round allow {images} "
                f"optimizer steps at most; set train.updates={images} or less, or raise rollout.prompts"
            )

    @classmethod
    def update_work(cls, config: RunConfig, images: int) -> UpdateWork:
        """Every trained step of every image; the whole trajectory is stored."""
        train = config.train
        steps = max(1, round(train.timestep_fraction * (train.window or config.rollout.steps)))
        return UpdateWork(
            rows=steps * images,
            extra_passes=int(train.keeps_reference),
            guided=train.cfg_update,
            stored=(config.rollout.steps + 1) * (1 if train.trust_region is None else 2),
        )

    def describe(self) -> list[str]:
        """Lines for the log: which steps can be trained, and which never."""
        possible = trainable_steps(self.schedule, self.config.rollout.eta)
        times = self.schedule.timesteps.tolist()
        never = [t for i, t in enumerate(times) if i not in possible]
        window = self.config.train.window or len(possible)
        count = max(1, round(self.config.train.timestep_fraction * min(window, len(possible))))
        return [
            f"trains {count} of {len(times)} steps per round, "
            f"out of timesteps {[times[i] for i in possible]}",
            f"never trained, as their deviation is 0: timesteps {never or 'none'}",
        ]

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents of the stochastic, guided policy; the trajectory is kept for the update."""
        c, seed = self.config, self.config.seed
        self.eta = window_eta(self.schedule, c.rollout.eta, c.train.window, seed, batch.step)
        draws = len(stochastic_steps(self.schedule, self.eta))
        keys = [(noise.ROLLOUT, seed, batch.step, prompt, member) for prompt, member in batch.keys]
        self.rollout = rollout(
            self.diffuser,
            self.schedule,
            batch.cond,
            noise.normal(keys, (1 + draws, *self.diffuser.latent_shape)),
            StochasticSampling(
                c.rollout.guidance,
                c.rollout.batch_size,
                c.rollout.solver,
                eta=self.eta,
                guided_density=self.guided,
                branch_size=c.branch_size,
                keep_means=c.train.trust_region is not None,
            ),
        )
        return self.rollout.clean

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on rows x timesteps; returns values for the log.

        Without a KL an advantage of 0, as in a group of equal rewards, has no gradient: such rows are
        not passed through the network; they count in the mean all the same. A sharded network must be called
        by all processes equally often, so there no row is left out.
        """
        train = self.config.train
        candidates = stochastic_steps(self.schedule, self.eta)
        steps = trained_steps(candidates, train.timestep_fraction, self.config.seed, batch.step)
        learned = ((batch.kl > 0) | (advantages != 0)).cpu() | self.learner.sharded
        log = RoundLog()
        for rows in optimizer_batches(batch.total, train.updates):
            total = len(steps) * len(rows)
            local = batch.local(rows)
            pairs = torch.cartesian_prod(torch.tensor(steps), local[learned[local]]).to(self.diffuser.device)
            for part in micro_batches(pairs, train.micro_batch):
                self._backward(batch, advantages, part[:, 0], part[:, 1], total, log)
            log.norms.append(self.learner.optimizer_step())
        log = log.all_gather()
        times = self.schedule.timesteps.tolist()
        ratios = torch.cat(log.ratios) if log.ratios else None
        return {
            **(dict.fromkeys(RATIO_FIELDS) if ratios is None else ratio_statistics(ratios, train.clip_range)),
            **log.summary(),
            "first_update_ratio_max_dev": log.first_deviation(),
            "trained_timesteps": [times[i] for i in steps],
        }

    def _backward(
        self, batch: Batch, advantages: Tensor, i: Tensor, rows: Tensor, total: int, log: RoundLog
    ) -> None:
        train = self.config.train
        x, following = self.rollout.latents[rows, i], self.rollout.latents[rows, i + 1]
        cond = batch.cond[rows]
        if train.keeps_reference:
            with torch.no_grad(), self.diffuser.reference():
                reference_mean, _ = self._step(x, i, cond)
        mean, sigma = self._step(x, i, cond)
        density, sampled = log_prob(following, mean, sigma), self.rollout.log_probs[rows, i]
        # before the only step of a round the policy is the one that sampled: what differs is rounding
        old = density.detach() if train.updates == 1 else sampled
        weight = self.weights[i]
        if train.trust_region is None or self.rollout.means is None:
            loss = weight * grpo_loss(density, old, advantages[rows], train.clip_range)
        else:
            old_mean, new_mean = self.rollout.means[rows, i], mean.detach()
            kl_to_sampler = gaussian_kl(new_mean, old_mean, sigma)
            outward = ((following - new_mean) * (new_mean - old_mean)).flatten(1).sum(1)
            loss, stopped = trust_region_loss(
                density, old, advantages[rows], kl_to_sampler, outward, train.trust_region
            )
            loss = weight * loss
            log.add_stopped(stopped)
        if train.keeps_reference:
            kl_to_reference = gaussian_kl(mean, reference_mean, sigma)
            loss = loss + batch.kl[rows] * weight**2 * kl_to_reference
            log.add_kl(self.schedule.timesteps[i], kl_to_reference)
        self.learner.backward(loss.sum() / total)
        log.add(loss, total)
        log.add_ratio((density - sampled).detach())

    def _step(self, x: Tensor, i: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        guidance = self.config.rollout.guidance if self.guided else 1.0
        output = self.diffuser.predict(x, self.schedule.timesteps[i], cond, guidance)
        return self.schedule.step(output, x, i, self.config.rollout.eta)
