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
