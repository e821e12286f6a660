"""DPO on pairs of a group's images, for noise or velocity (Wallace et al., 2024).

The mathematics comes first, the algorithm that uses it below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from safediffusion.config import RunConfig
from safediffusion.diffusion.image_latents import image_latents
from safediffusion.errors import UserError
from safediffusion.training.algorithms.algorithm import Batch, UpdateWork
from safediffusion.training.algorithms.forward_process import ForwardProcess, Noised
from safediffusion.training.algorithms.round_log import RoundLog


def dpo_loss(won: Tensor, lost: Tensor, beta: float) -> Tensor:
    """Negative log-likelihood of the preference, (n,) (Wallace et al., 2024, eq. 14); log 2 at the reference.

    Args:
        won: squared error of the preferred image minus the reference model's, mean over elements, (n,).
        lost: the same of the other image, with the same noise at the same level.
        beta: of the KL to the reference model, times the weight of the noise levels.
    """
    return functional.softplus(beta / 2 * (won - lost))


def best_and_worst(advantages: Tensor, members: int) -> Tensor:
    """Rows of the best and the worst image of each group, side by side, (2 groups,), from advantages (n,)."""
    groups = advantages.view(-1, members)
    first = torch.arange(0, len(advantages), members, device=advantages.device)
    return torch.stack([first + groups.argmax(1), first + groups.argmin(1)], 1).flatten()


class Dpo(ForwardProcess):
    """The best and the worst image of a group are a pair, or two images that are given with the prompt; the
    old copy stays the reference model.

    A group of equal rewards has no pair. It counts in the mean all the same.
    """

    by_rank: ClassVar[bool] = True

    @classmethod
    def keeps_old_copy(cls, config: RunConfig) -> bool:
        """Always: it is the untrained model."""
        return True

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse micro-batches that split a pair.

        Raises:
            UserError: with what to set instead.
        """
        super().check(config)
        if config.train.micro_batch % 2:
            raise UserError(
                f"train.micro_batch is {config.train.micro_batch}, but dpo learns from pairs of images; "
                f"set train.micro_batch={config.train.micro_batch + 1} or another even number"
            )

    @classmethod
    def update_work(cls, config: RunConfig, images: int) -> UpdateWork:
        """Two images of every group, once per optimizer step."""
        return super().update_work(config, 2 * images // config.rollout.group_size)

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents of the sampler, or of the given images of a round."""
        if not batch.given:
            return super().sample(batch)
        self.clean = image_latents(self.diffuser, batch.given)
        return self.clean

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on the pairs; both images of a pair have the noise of the better one."""
        members = self.config.rollout.group_size
        if batch.given:  # the preference is given too; what the reward thinks of it is only logged
            advantages = torch.tensor([1.0, -1.0], device=advantages.device).repeat(len(batch.keys) // 2)
        rows = best_and_worst(advantages, members)
        pairs = replace(
            batch,
            total=2 * batch.total // members,
            keys=[batch.keys[row] for row in rows[::2].repeat_interleave(2).tolist()],
            cond=batch.cond[rows],
            kl=batch.kl[rows],
        )
        return self.learn(pairs, self.clean[rows], advantages[rows])

    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """See `dpo_loss`; each row has the loss of its pair."""
        reference, predicted = self.predict_old(rows), self.predict(rows)
        error, known = ((p - rows.target).square().flatten(1).mean(1) for p in (predicted, reference))
        won, lost = (error - known).view(-1, 2).unbind(1)
        better, worse = advantages.view(-1, 2).unbind(1)
        loss = dpo_loss(won, lost, self.config.train.dpo_beta).masked_fill(better == worse, 0.0)
        return loss.repeat_interleave(2), predicted

    def after(self, step: int) -> None:
        """The old copy is never updated."""
