"""Rewards of the user's own: a reward function, or a factory that makes one from the device and options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from safediffusion.errors import UserError
from safediffusion.steering.reward import Reward
from safediffusion.system.extensions import load_object

REWARD = "a function of (images, prompts)"


def load_own_reward(path: str, options: Mapping[str, Any], device: torch.device | str) -> Reward:
    """The reward that `pkg.mod:NAME` names.

    The first parameter decides what NAME is. A callable whose first parameter is called `device` is a
    factory: it is called once, as NAME(device, **options), and returns the reward. Any other callable is the
    reward itself.

    Args:
        path: module and name, with a colon between them.
        options: keyword arguments of the factory.
        device: where images are scored; the factory receives it as a torch.device.

    Raises:
        UserError: NAME cannot be imported, is neither of the two, or does not accept the options.
    """
    found = load_object(path, "reward.kind")
    if _first_parameter(found) == "device":
        _check_call(found, f"reward.options do not fit {path}", torch.device(device), **options)
        return _checked(found(torch.device(device), **options), f"{path} returned what")
    if options:
        raise UserError(
            f"reward.options are given, but {path} is not a factory; write it as a function of "
            "(device, **options) that returns the reward, or remove the options"
        )
    return _checked(found, f"reward.kind={path}")


def _checked(reward: Any, name: str) -> Any:
    if not callable(reward):
        raise UserError(f"{name} is not {REWARD}, but {type(reward).__name__}; write {REWARD}")
    _check_call(reward, f"{name} is not {REWARD}", None, None)
    return reward


def _signature(function: Any) -> inspect.Signature | None:
    """None for what has none, such as some functions that are written in C."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _first_parameter(function: Any) -> str | None:
    signature = _signature(function)
    return next(iter(signature.parameters), None) if signature else None


def _check_call(function: Any, message: str, *args: Any, **kwargs: Any) -> None:
    """Raise a UserError that begins with `message` where a function does not accept these arguments."""
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(f"{message}: {error}; its signature is {signature}") from error
