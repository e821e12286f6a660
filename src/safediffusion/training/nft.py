"""Negative-aware fine-tuning on the forward process (Zheng et al., 2025), noise or velocity. Pure maths."""

from torch import Tensor


def preference(advantages: Tensor, clip: float) -> Tensor:
    """Advantages mapped to r in [0, 1]; 1/2 is the group's mean."""
    return 0.5 + 0.5 * (advantages / clip).clamp(-1, 1)


def nft_loss(predicted: Tensor, old: Tensor, target: Tensor, r: Tensor, weight: Tensor) -> Tensor:
    """Contrast of an image's noise (or velocity) with its mirror image at the old prediction, (n,).

    A liked image pulls the prediction to its own target, a disliked one pushes it to the other side of the
    old prediction, 2 old - target.

    Args:
        predicted: by the policy, (n, c, h, w).
        old: by the old copy, (n, c, h, w).
        target: what was added, or the velocity, (n, c, h, w).
        r: preference in [0, 1], (n,).
        weight: (n,).
    """
    liked = (predicted - target).square().flatten(1).mean(1)
    disliked = (2 * old - predicted - target).square().flatten(1).mean(1)
    return weight * (r * liked + (1 - r) * disliked)


def nft_anchor(predicted: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Weighted distance to the reference's prediction, (n,)."""
    return weight * (predicted - reference).square().flatten(1).mean(1)


def old_decay(round_index: int, step: float, limit: float) -> float:
    """How much of the old copy survives round `round_index` (from 0): rises by `step` up to `limit`."""
    return min(limit, step * round_index)
