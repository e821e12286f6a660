"""Images of one prompt and seed each, from a named model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from safediffusion.config import EvaluateConfig, RunConfig
from safediffusion.config.invalid import explain_invalid
from safediffusion.errors import UserError
from safediffusion.models.loaded import Changes, load_changed
from safediffusion.prompts.minors import sexualises_minors

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser

SEEDS = 2**64  # torch.Generator takes no more


@dataclass(frozen=True)
class Sampler:
    """What a command says about the sampler; None leaves it as the run or the default has it."""

    steps: int | None = None
    guidance: float | None = None

    @property
    def given(self) -> dict[str, int | float]:
        """What is said, by the names of the settings."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def with_sampler(config: RunConfig, sampler: Sampler) -> RunConfig:
    """A configuration whose evaluations sample so.

    Raises:
        UserError: a number is not accepted.
    """
    try:
        evaluate = EvaluateConfig.model_validate(config.evaluate.model_dump() | sampler.given)
    except ValidationError as error:
        raise UserError(f"--{explain_invalid(error)}") from error
    return config.model_copy(update={"evaluate": evaluate})


def check_request(models: Sequence[str], prompts: Sequence[str], seed: int) -> None:
    """Refuse what is not to be sampled, before anything is loaded.

    Raises:
        UserError: a prompt sexualises minors, which no option lifts; the seed is out of bounds; or a model's
            suffix names no method.
    """
    from safediffusion.baselines.sampling import check_suffix

    if not 0 <= seed <= SEEDS - len(prompts):
        raise UserError(
            f"--seed is {seed}; random generators take seeds from 0 to {SEEDS - 1}, set one of them"
        )
    if any(map(sexualises_minors, prompts)):
        raise UserError("a prompt mentions minors in a sexual context; such prompts are never drawn")
    for name in models:
        check_suffix(name)


def generate_images(
    model: str,
    config: RunConfig,
    prompts: Sequence[str],
    seed: int,
    changes: Changes | None = None,
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1], with the sampler that a run's evaluations use."""
    return sample_images(load_changed(model, config, changes or Changes()), prompts, seed, config.evaluate)


def sample_images(
    diffuser: Diffuser, prompts: Sequence[str], seed: int, sampler: EvaluateConfig
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1] of a loaded model.

    Args:
        prompts: n texts.
        seed: of the first prompt; the next prompts take the next seeds.
        sampler: its steps, guidance and eta.

    Raises:
        RunError: an image is not finite.
    """
    from safediffusion.diffusion.finite import finite
    from safediffusion.diffusion.sample import generate

    seeds = range(seed, seed + len(prompts))
    return finite(generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta))
