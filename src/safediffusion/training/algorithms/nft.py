"""NFT: negative-aware fine-tuning on the forward process, for noise or velocity (Zheng et al., 2025).

The mathematics comes first, the algorithm that uses it below.
"""

from __future__ import annotations

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.training.algorithms.forward_process import ForwardProcess, Noised
from safediffusion.training.algorithms.round_log import RoundLog


def preference(advantages: Tensor, clip: float) -> Tensor:
    """Advantages mapped to r in [0, 1]; 1/2 is the group's mean."""
    return 0.5 + 0.5 * (advantages / clip).clamp(-1, 1)


def nft_loss(
    predicted: Tensor, old: Tensor, target: Tensor, r: Tensor, weight: Tensor, beta: float = 1.0
) -> Tensor:
    """Contrast of an image's noise (or velocity) with its mirror image at the old prediction, (n,).

    A liked image pulls `(1 - beta) old + beta predicted` to its own target, a disliked one pushes it to the
    other side of the old prediction, 2 old - target. The minimum lies at
    `old + (2 r - 1)(target - old) / beta`.

    Args:
        predicted: by the policy, (n, c, h, w).
        old: by the old copy, (n, c, h, w).
        target: what was added, or the velocity, (n, c, h, w).
        r: preference in [0, 1], (n,).
        weight: (n,).
        beta: below 1 the same preference asks for a larger change.
    """
    predicted = torch.lerp(old, predicted, beta)  # exactly `predicted` at 1
    liked = (predicted - target).square().flatten(1).mean(1)
    disliked = (2 * old - predicted - target).square().flatten(1).mean(1)
    return weight * (r * liked + (1 - r) * disliked)


def old_decay(round_index: int, step: float, limit: float) -> float:
    """Share of the old copy that survives round `round_index` (from 0): rises by `step` up to `limit`."""
    return min(limit, step * round_index)


class Nft(ForwardProcess):
    """Contrast with an old copy that follows the policy slowly; needs no density."""

    @classmethod
    def keeps_old_copy(cls, config: RunConfig) -> bool:
        """Always: the contrast is with its prediction."""
        return True

    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """See `nft_loss`."""
        r = preference(advantages, self.config.train.adv_clip)
        old, predicted = self.predict_old(rows), self.predict(rows)
        return nft_loss(predicted, old, rows.target, r, rows.weight, self.config.train.nft_beta), predicted

    def after(self, step: int) -> None:
        """The old copy follows."""
        train = self.config.train
        self.learner.update_old_copy(old_decay(step, train.old_decay_step, train.old_decay_max))
