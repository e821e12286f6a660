"""How a task's pictures are drawn from a model: World's own sampler, or the library's pipeline as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..diffusion.diffuser import Diffuser
from ..diffusion.sample import generate
from .detectors.detector import Row
from .memory import halving

Draw = Callable[[Sequence[Row]], list[Tensor]]

# The library's schedulers by the name that results carry.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}


@dataclass(frozen=True)
class Sampler:
    """How images are drawn; part of every result.

    Attributes:
        name: "ddim" with `generator` None is this package's own; else one of SCHEDULERS, or "row" where
            each row names its own.
        guidance: where the row says none.
        size: side of the picture where the row says none; None is the model's.
        generator: device of the random numbers; None draws by (seed, row) on the CPU, batch by batch.
    """

    steps: int
    guidance: float
    eta: float = 0.0
    name: str = "ddim"
    size: int | None = None
    generator: str | None = None


def drawer(diffuser: Diffuser, sampler: Sampler) -> Draw:
    """What draws the pictures of rows, (3, h, w) in [0, 1] each, on the CPU."""
    if sampler.generator is None:
        return lambda rows: _own(diffuser, sampler, rows)

    def draw(rows: Sequence[Row]) -> list[Tensor]:
        with diffuser.awake():  # the library's pipeline expects its text encoders on the device
            return list(_library(diffuser.pipeline, sampler, rows))

    return draw


def here(sampler: Sampler, device: torch.device) -> Sampler:
    """The sampler with the generator device that this machine has."""
    if sampler.generator in (None, "cpu", device.type):
        return sampler
    return replace(sampler, generator="cpu")


def _own(diffuser: Diffuser, sampler: Sampler, rows: Sequence[Row]) -> list[Tensor]:
    def draw(part: list[Row]) -> list[Tensor]:
        prompts, seeds = [row["prompt"] for row in part], [row["seed"] for row in part]
        return list(generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta))

    return halving(draw, list(rows))


@torch.no_grad()
def _library(pipeline: Any, sampler: Sampler, rows: Sequence[Row]) -> Iterator[Tensor]:
    """One call a picture; the pictures of one prompt follow each other from one generator."""
    generator = torch.Generator(sampler.generator or "cpu")
    for row in rows:
        if row.get("sample", 0) == 0:
            generator.manual_seed(row["seed"])
        with scheduler(pipeline, row["sampler"] if sampler.name == "row" else sampler.name):
            yield (
                pipeline(
                    row["prompt"],
                    num_inference_steps=sampler.steps,
                    guidance_scale=row.get("guidance", sampler.guidance),
                    width=row.get("width", sampler.size),
                    height=row.get("height", sampler.size),
                    generator=generator,
                    output_type="pt",
                )
                .images[0]
                .float()
                .cpu()
            )


@contextmanager
def scheduler(pipeline: Any, name: str) -> Iterator[None]:
    """Inside, the pipeline draws with another scheduler of the same noise schedule."""
    import diffusers

    kind, settings = SCHEDULERS[name]
    before = pipeline.scheduler
    pipeline.scheduler = getattr(diffusers, kind).from_config(before.config, **settings)
    try:
        yield
    finally:
        pipeline.scheduler = before
