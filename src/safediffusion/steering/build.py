"""From the settings of a run to its rewards; rewards that name the same encoder share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch

from safediffusion.config.schema import OneRewardConfig, RewardConfig
from safediffusion.errors import UserError
from safediffusion.prompts.select import Prompt
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import Encoder, load_encoder
from safediffusion.steering.http_reward import HttpReward, is_address
from safediffusion.steering.own_reward import load_own_reward
from safediffusion.steering.reward import (
    ClipReward,
    NegativeClipReward,
    Reward,
    Rewards,
    SteeringReward,
    WeightedReward,
)
from safediffusion.steering.threshold import threshold_of

KINDS = ("steering", "clip", "negative-clip")


def build_rewards(
    config: RewardConfig,
    device: torch.device | str,
    offload: bool = False,
    prompts: Sequence[Prompt] = (),
) -> Rewards:
    """All rewards of a configuration, the main one first.

    Args:
        config: the main reward, with the others under `also`.
        device: where images are scored.
        offload: keep the encoders on the CPU while nothing is scored.
        prompts: of the run, for a threshold that is not set.

    Raises:
        UserError: a kind, an encoder or a safety policy is unknown, or a reward of the user's own is refused.
    """
    encoder = cache(lambda name: load_encoder(name, device, offload))
    return Rewards(
        [
            WeightedReward(one.label, one.weight, _build(one, encoder, device, prompts))
            for one in (config, *config.also)
        ]
    )


def _build(
    config: OneRewardConfig,
    encoder: Callable[[str], Encoder],
    device: torch.device | str,
    prompts: Sequence[Prompt],
) -> Reward:
    if is_address(config.kind):
        server = HttpReward.of(config.kind, config.options, config.batch_size)
        server.check()
        return server
    if ":" in config.kind:
        return load_own_reward(config.kind, config.options, device)
    if config.kind not in KINDS:
        raise UserError(
            f"reward.kind {config.kind!r} is not known; set {', '.join(KINDS)}, pkg.mod:NAME or http://..."
        )
    views, batch_size = config.views, config.batch_size
    if config.kind == "clip":
        return ClipReward(encoder(config.encoder), views=views, batch_size=batch_size)
    policy = load_safety_policy(config.anchors, config.encoder)
    z = encoder(config.encoder)
    if config.kind == "negative-clip":
        return NegativeClipReward(z, policy.unsafe, views=views, batch_size=batch_size)
    direction = SafetyDirection.from_anchors(z, policy)
    below = None
    if config.steer == "unsafe":
        below = threshold_of(prompts, z, direction) if config.threshold is None else config.threshold
    return SteeringReward(
        z,
        direction,
        config.alpha,
        mode=config.mode,
        below=below,
        views=views,
        batch_size=batch_size,
    )
