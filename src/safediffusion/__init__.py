"""SafeDiffusion-R1: safety in the weights of a text-to-image model, by RL with a steering reward.

The public names, loaded on first use so that `import safediffusion` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safediffusion.version import __version__

if TYPE_CHECKING:
    from safediffusion.baselines.sampling import load_model
    from safediffusion.config import RunConfig, load_config
    from safediffusion.evaluation.results import compare
    from safediffusion.evaluation.runner import evaluate
    from safediffusion.run.train import train
    from safediffusion.steering.direction import SafetyDirection
    from safediffusion.steering.reward import SteeringReward
    from safediffusion.training.trainer import Trainer

# No module beside this file may have one of these names: importing it would replace the name.
_HOMES = {
    "RunConfig": "config",
    "load_config": "config",
    "load_model": "baselines.sampling",
    "compare": "evaluation.results",
    "evaluate": "evaluation.runner",
    "SafetyDirection": "steering.direction",
    "SteeringReward": "steering.reward",
    "train": "run.train",
    "Trainer": "training.trainer",
}

__all__ = [
    "RunConfig",
    "SafetyDirection",
    "SteeringReward",
    "Trainer",
    "__version__",
    "compare",
    "evaluate",
    "load_config",
    "load_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
