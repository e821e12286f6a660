"""GRPO's clipped objective and its statistics. Pure maths (Schulman et al., 2017; Shao et al., 2024)."""

from torch import Tensor

RATIO_FIELDS = (
    "ratio_mean",
    "ratio_std",
    "ratio_max_dev",
    "clip_fraction_low",
    "clip_fraction_high",
    "approx_kl",
)


def grpo_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Pessimistic clipped surrogate of every sample, (n,).

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
    """Surrogate whose gradient ends where the policy is `limit` away and would go further, and where, (n,).

    A ratio mixes how far the policy moved with where in the noise the sample lies; the KL of two Gaussians of
    equal deviation is the move itself, exactly. An update that comes back is never stopped.

    Args:
        log_prob, old_log_prob, advantages: as in `grpo_loss`.
        kl: from the policy that sampled to the policy, mean over elements, (n,).
        outward: (sample - mean) . (mean - old mean), (n,): descent moves the mean along advantage times
            (sample - mean), so their product's sign says whether the KL would grow.
        limit: of the KL.
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
