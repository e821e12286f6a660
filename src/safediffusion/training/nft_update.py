"""NFT as a pair of acts: sample a round of clean latents, and update the network on noised copies of them."""

from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.rollout import solve
from safediffusion.training.grpo import RATIO_FIELDS
from safediffusion.training.learner import Learner
from safediffusion.training.nft import nft_anchor, nft_loss, old_decay, preference
from safediffusion.training.updates import Batch, RoundLog, micro_batches


class Nft:
    """Contrast on the forward process: needs no density (Zheng et al., 2025)."""

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        self.config, self.learner = config, learner
        self.diffuser = learner.diffuser
        self.process = self.diffuser.process
        self.schedule = self.process.schedule(config.rollout.steps)
        # a distilled network is told the guidance it samples with; others learn without guidance
        self.guidance = config.rollout.guidance if self.diffuser.distilled else 1.0
        self.clean: Tensor

    def describe(self) -> list[str]:
        """Lines for the log."""
        return [f"trains on noise levels drawn from all {self.process.levels}; samples without noise"]

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents of the deterministic, guided sampler, kept for the update."""
        rollout_config, seed = self.config.rollout, self.config.seed
        keys = [(noise.ROLLOUT, seed, batch.step, prompt, member) for prompt, member in batch.keys]
        start = noise.normal(keys, self.diffuser.latent_shape)
        self.clean = solve(
            self.diffuser,
            self.schedule,
            batch.cond,
            start,
            guidance=rollout_config.guidance,
            batch_size=rollout_config.batch_size,
        )
        return self.clean

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on all images, each with its own noise levels; then the old copy follows."""
        train = self.config.train
        r = preference(advantages, train.adv_clip)
        log = RoundLog()
        for update in range(train.updates):
            keys = [(noise.FORWARD, self.config.seed, batch.step, *key, update) for key in batch.keys]
            t = noise.integers([(*key, 0) for key in keys], self.process.levels).to(self.diffuser.device)
            e = noise.normal([(*key, 1) for key in keys], self.diffuser.latent_shape).to(self.diffuser.device)
            here = torch.arange(len(keys), device=self.diffuser.device)
            for rows in micro_batches(here, train.micro_batch):
                own = batch.cond[rows], self.clean[rows], t[rows], e[rows], r[rows]
                self._backward(*own, batch.total, log)
            log.norms.append(self.learner.descend())
        self.learner.follow(old_decay(batch.step, train.old_decay_step, train.old_decay_max))
        return {**dict.fromkeys(RATIO_FIELDS), **log.everywhere().summary()}

    def _backward(
        self, cond: Condition, clean: Tensor, t: Tensor, e: Tensor, r: Tensor, total: int, log: RoundLog
    ) -> None:
        kl = self.config.train.kl
        x, target, weight = (
            self.process.add_noise(clean, e, t),
            self.process.target(clean, e),
            self.process.weight(t),
        )
        with torch.no_grad(), self.learner.old_weights():
            old = self._predict(x, t, cond)
        if kl > 0:
            with torch.no_grad(), self.diffuser.reference():
                ref = self._predict(x, t, cond)
        predicted = self._predict(x, t, cond)
        loss = nft_loss(predicted, old, target, r, weight)
        if kl > 0:
            anchor = nft_anchor(predicted, ref, weight)
            loss = loss + kl * anchor
            log.add_kl(self.process.timestep(t) // 100 * 100, anchor)
        (loss.sum() / total).backward()
        log.add(loss, total)

    def _predict(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        output = self.diffuser.predict(x, self.process.timestep(t), cond, self.guidance)
        return self.process.predicted(output, x, t)
