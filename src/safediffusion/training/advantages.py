"""Advantages: how much better an image is than the others of its group (Shao et al., 2024); summaries."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safediffusion.config.schema import Spread

# Below this spread a group's rewards differ by float rounding only and carry no preference.
EQUAL = 1e-6


def group_advantages(
    rewards: Tensor, clip: float, spread_of: Spread = "group", epsilon: float = 1e-4
) -> Tensor:
    """Rewards centred inside their group and scaled, cut to +-clip.

    Args:
        rewards: (groups, members) float32.
        clip: largest absolute advantage.
        spread_of: "group" divides by the deviation of each group, "round" by that of all centred rewards.
            With "round" a group of nearly equal images, whose order is chance, moves the model less than
            others.
        epsilon: added to the deviation, so that a nearly even group is not amplified.

    Returns:
        (groups, members); exactly 0 in a group of (nearly) equal rewards.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    spread = rewards.std(1, keepdim=True)
    scale = spread if spread_of == "group" else spread.square().mean().sqrt()
    advantages = (centred / (scale + epsilon)).clamp(-clip, clip)
    return advantages.masked_fill(spread < EQUAL, 0.0)


def weighted_advantages(
    rewards: Tensor, weights: Sequence[float], clip: float, spread_of: Spread = "group"
) -> Tensor:
    """One advantage from several rewards: the weighted sum of each reward's group advantages.

    The weights are divided by the root of the sum of their squares, so that rewards which vary independently
    keep the spread of a single one. No value of another round is used.

    Args:
        rewards: (k, groups, members) float32.
        weights: k of them, above 0.
        clip: largest absolute advantage, of each reward and of the sum.
        spread_of: see group_advantages.

    Returns:
        (groups, members); for a single reward exactly its group_advantages.
    """
    shares = torch.tensor([w / math.hypot(*weights) for w in weights], device=rewards.device)
    each = torch.stack([group_advantages(groups, clip, spread_of) for groups in rewards])
    return (shares.view(-1, 1, 1) * each).sum(0).clamp(-clip, clip)


def zero_std_ratio(rewards: Tensor) -> float:
    """Share of groups whose rewards are (nearly) equal, from rewards (groups, members)."""
    return (rewards.std(1) < EQUAL).float().mean().item()


def reward_summary(rewards: Tensor, labels: Sequence[str | None]) -> dict[str, float | None]:
    """Mean and deviation of rewards (n,), and the means of those labelled benign and unsafe, if any."""
    return {
        "reward_mean": rewards.mean().item(),
        "reward_std": rewards.std().item() if len(rewards) > 1 else 0.0,
        "reward_benign": _mean_where(rewards, labels, "benign"),
        "reward_unsafe": _mean_where(rewards, labels, "unsafe"),
    }


def rewards_summary(
    scores: Tensor, groups: Tensor, names: Sequence[str], labels: Sequence[str | None]
) -> dict[str, Any]:
    """The summary of the first reward, and that of each reward under its name.

    Args:
        scores: (k, n).
        groups: the same as (k, groups, members).
        names: k of them.
        labels: n of them.
    """
    each = {
        name: reward_summary(own, labels) | {"zero_std_ratio": zero_std_ratio(group)}
        for name, own, group in zip(names, scores, groups, strict=True)
    }
    return {**reward_summary(scores[0], labels), "rewards": each}


def _mean_where(rewards: Tensor, labels: Sequence[str | None], label: str) -> float | None:
    chosen = torch.tensor([own == label for own in labels], device=rewards.device)
    return rewards[chosen].mean().item() if chosen.any() else None
