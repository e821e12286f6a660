"""GRPO as a pair of acts: sample a round of images with their densities, and update the network on them."""

from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.gaussian import gaussian_kl, log_prob
from safediffusion.diffusion.rollout import Rollout, rollout, stochastic_steps
from safediffusion.errors import UserError
from safediffusion.training import processes
from safediffusion.training.grpo import RATIO_FIELDS, grpo_loss, ratio_statistics, trust_region_loss
from safediffusion.training.learner import Learner
from safediffusion.training.shapes import shared_rows
from safediffusion.training.timesteps import step_weights, trainable_steps, trained_steps, window_eta
from safediffusion.training.updates import Batch, RoundLog, micro_batches, optimizer_batches


class Grpo:
    """Policy gradient on the sampled trajectory (method: Shao et al., 2024; Xue et al., 2025)."""

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        self.config, self.learner = config, learner
        self.diffuser = learner.diffuser
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
        images = len(processes.share(config.rollout.prompts)) * config.rollout.group_size
        self.diffuser.call_rows = shared_rows(config, images, self.diffuser.distilled)

    def describe(self) -> list[str]:
        """Lines for the log: which steps can be trained, and which never."""
        possible = trainable_steps(self.schedule, self.config.rollout.eta)
        times = self.schedule.timesteps.tolist()
        never = [t for i, t in enumerate(times) if i not in possible]
        window = self.config.train.window or len(possible)
        count = max(1, round(self.config.train.timestep_fraction * min(window, len(possible))))
        return [
            f"trains {count} of {len(times)} steps a round, out of timesteps {[times[i] for i in possible]}",
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
            torch.tensor([prompt for prompt, _ in batch.keys]),
            eta=self.eta,
            guidance=c.rollout.guidance,
            batch_size=c.rollout.batch_size,
            guided_density=self.guided,
            solver=c.rollout.solver,
            shared=c.branch_size,
            keep_means=c.train.trust_region is not None,
        )
        return self.rollout.clean

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on rows x timesteps; returns what the log wants to know.

        Without a KL an advantage of 0, as in a group of equal rewards, has no gradient: such rows are
        not passed through the network; they count in the mean all the same. A network in pieces is asked by
        all processes equally often, so there they are.
        """
        train = self.config.train
        candidates = stochastic_steps(self.schedule, self.eta)
        steps = trained_steps(candidates, train.timestep_fraction, self.config.seed, batch.step)
        learned = ((batch.kl > 0) | (advantages != 0)).cpu() | self.learner.sharded
        log = RoundLog()
        for rows in optimizer_batches(batch.total, train.updates):
            total = len(steps) * len(rows)
            own = batch.own(rows)
            pairs = torch.cartesian_prod(torch.tensor(steps), own[learned[own]]).to(self.diffuser.device)
            for part in micro_batches(pairs, train.micro_batch):
                self._backward(batch, advantages, part[:, 0], part[:, 1], total, log)
            log.norms.append(self.learner.descend())
        log = log.everywhere()
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
                mu_ref, _ = self._step(x, i, cond)
        mu, sigma = self._step(x, i, cond)
        density, sampled = log_prob(following, mu, sigma), self.rollout.log_probs[rows, i]
        # before a round's only step the policy is the one that sampled: what differs is rounding
        old = density.detach() if train.updates == 1 else sampled
        weight = self.weights[i]
        if train.trust_region is None or self.rollout.means is None:
            loss = weight * grpo_loss(density, old, advantages[rows], train.clip_range)
        else:
            mean, moved = mu.detach(), mu.detach() - self.rollout.means[rows, i]
            kl, outward = (
                gaussian_kl(mean, mean - moved, sigma),
                ((following - mean) * moved).flatten(1).sum(1),
            )
            loss, stopped = trust_region_loss(density, old, advantages[rows], kl, outward, train.trust_region)
            loss = weight * loss
            log.add_stopped(stopped)
        if train.keeps_reference:
            kl = gaussian_kl(mu, mu_ref, sigma)
            loss = loss + batch.kl[rows] * weight**2 * kl
            log.add_kl(self.schedule.timesteps[i], kl)
        self.learner.backward(loss.sum() / total)
        log.add(loss, total)
        log.add_ratio((density - sampled).detach())

    def _step(self, x: Tensor, i: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        guidance = self.config.rollout.guidance if self.guided else 1.0
        output = self.diffuser.predict(x, self.schedule.timesteps[i], cond, guidance)
        return self.schedule.step(output, x, i, self.config.rollout.eta)
