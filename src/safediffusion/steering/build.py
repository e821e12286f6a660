"""From the settings of a run to its rewards; rewards that name the same encoder share it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

from safediffusion.config.schema import OneRewardConfig, RewardConfig
from safediffusion.errors import UserError
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import Encoder, load_encoder
from safediffusion.steering.reward import (
    ClipReward,
    NegativeClipReward,
    Reward,
    Rewards,
    SteeringReward,
    WeightedReward,
)
from safediffusion.system.extensions import load_object

KINDS = ("steering", "clip", "negative-clip")


def build_rewards(config: RewardConfig, device: torch.device | str, offload: bool = False) -> Rewards:
    """All rewards a configuration asks for, the main one first.

    With `offload` their encoders wait on the CPU while nothing is scored.
    """
    encoder = cache(lambda name: load_encoder(name, device, offload))
    return Rewards(
        [WeightedReward(one.label, one.weight, _build(one, encoder)) for one in (config, *config.also)]
    )


def build_reward(config: OneRewardConfig, device: torch.device | str) -> Reward:
    """One reward; `kind` may be a function of your own, pkg.mod:name."""
    return _build(config, lambda name: load_encoder(name, device))


def _build(config: OneRewardConfig, encoder: Callable[[str], Encoder]) -> Reward:
    if ":" in config.kind:
        return load_object(config.kind, "reward.kind")
    if config.kind not in KINDS:
        raise UserError(f"reward.kind {config.kind!r} is not known; set {', '.join(KINDS)}, or pkg.mod:fn")
    if config.kind == "clip":
        return ClipReward(encoder(config.encoder), config.views, config.batch_size)
    policy = load_safety_policy(config.anchors, config.encoder)
    z = encoder(config.encoder)
    if config.kind == "negative-clip":
        return NegativeClipReward(z, policy.unsafe, config.views, config.batch_size)
    direction = SafetyDirection.from_anchors(z, policy)
    return SteeringReward(
        z,
        direction,
        config.alpha,
        config.mode,
        config.steer,
        config.threshold,
        config.views,
        config.batch_size,
    )
