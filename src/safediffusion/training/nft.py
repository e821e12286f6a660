"""Negative-aware fine-tuning on the forward process (Zheng et al., 2025), in noise space. Pure maths."""

from torch import Tensor


def preference(advantages: Tensor, clip: float) -> Tensor:
    """Advantages mapped to r in [0, 1]; 1/2 is the group's mean."""
    return 0.5 + 0.5 * (advantages / clip).clamp(-1, 1)


def nft_weight(alpha_t: Tensor) -> Tensor:
    """w_t = min(2, sqrt(a_t / (1 - a_t))): noisy steps count less, clean ones at most 2."""
    return (alpha_t / (1 - alpha_t)).sqrt().clamp(max=2)


def nft_loss(eps: Tensor, eps_old: Tensor, noise: Tensor, r: Tensor, weight: Tensor) -> Tensor:
    """Contrast of an image's noise with its mirror image at the old prediction, (n,).

    A liked image pulls the prediction to its own noise, a disliked one pushes it to the other side of the
    old prediction, 2 eps_old - noise.

    Args:
        eps: the policy's predicted noise, (n, c, h, w).
        eps_old: the old copy's, (n, c, h, w).
        noise: what was added, (n, c, h, w).
        r: preference in [0, 1], (n,).
        weight: (n,).
    """
    liked = (eps - noise).square().flatten(1).mean(1)
    disliked = (2 * eps_old - eps - noise).square().flatten(1).mean(1)
    return weight * (r * liked + (1 - r) * disliked)


def nft_anchor(eps: Tensor, eps_ref: Tensor, weight: Tensor) -> Tensor:
    """Weighted distance to the reference's prediction, (n,)."""
    return weight * (eps - eps_ref).square().flatten(1).mean(1)


def old_decay(round_index: int, step: float, limit: float) -> float:
    """How much of the old copy survives round `round_index` (from 0): rises by `step` up to `limit`."""
    return min(limit, step * round_index)
