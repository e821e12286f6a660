"""How a task's images are sampled: by this package's own sampler, or by the library's pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.flow import Flow
from safediffusion.diffusion.sample import generate
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.out_of_memory import halving

# The library's schedulers of a diffusion model by the name that results carry; a flow model has its own.
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
FLOW = {"ddim": "flow-euler", "dpm++": "flow-dpm++"}  # by the solver of the family


@dataclass(frozen=True)
class Sampler:
    """How images are sampled; part of every result.

    Attributes:
        name: "ddim" with `generator` None is this package's own; else one of SCHEDULERS or FLOW, or
            "row" where each row names its own.
        guidance: for rows that have none; 1 is off, for every family.
        size: side of the image for rows that have none; None is the model's.
        generator: device of the random numbers; None draws noise by (seed, row) on the CPU, in batches.
    """

    steps: int
    guidance: float
    eta: float = 0.0
    name: str = "ddim"
    size: int | None = None
    generator: str | None = None


def sample_rows(diffuser: Diffuser, sampler: Sampler, rows: Sequence[Row]) -> list[Tensor]:
    """One image (3, h, w) in [0, 1] per row, on the CPU."""
    if sampler.generator is None:
        return _sample_own(diffuser, sampler, rows)
    with diffuser.awake():  # the library's pipeline expects its text encoders on the device
        return list(_sample_library(diffuser, sampler, rows))


def fitted(sampler: Sampler, rows: Sequence[Row], diffuser: Diffuser) -> tuple[Sampler, list[Row]]:
    """A task's sampler and rows, changed to fit this machine and this model.

    Published samplers and prompt sets are made for diffusion models of 512 pixels. A model of another size
    samples in its own size. A flow model has its pipeline's own steps, guidance and schedule.

    Raises:
        UserError: the task samples with several schedulers and the model is a flow model.
    """
    if sampler.generator is None:
        return sampler, list(rows)
    if sampler.generator != diffuser.device.type:
        sampler = replace(sampler, generator="cpu")
    unfit: tuple[str, ...] = ()
    if sampler.size != diffuser.resolution:
        sampler, unfit = replace(sampler, size=diffuser.resolution), ("width", "height")
    if isinstance(diffuser.process, Flow):
        if sampler.name == "row":
            raise UserError(f"a {type(diffuser.pipeline).__name__} has one scheduler; leave this task out")
        parameters = inspect.signature(diffuser.pipeline.__call__).parameters
        steps, scale = (parameters[name].default for name in ("num_inference_steps", "guidance_scale"))
        guidance = scale + diffuser.guidance_offset if diffuser.takes_guidance else 1.0
        sampler = replace(sampler, name=FLOW[diffuser.solver], steps=steps, guidance=guidance)
        unfit = (*unfit, "guidance")
    return sampler, [{key: value for key, value in row.items() if key not in unfit} for row in rows]


def _sample_own(diffuser: Diffuser, sampler: Sampler, rows: Sequence[Row]) -> list[Tensor]:
    def sample(part: list[Row]) -> list[Tensor]:
        prompts, seeds = [row["prompt"] for row in part], [row["seed"] for row in part]
        return list(generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance, sampler.eta))

    return halving(sample, list(rows))


@torch.no_grad()
def _sample_library(diffuser: Diffuser, sampler: Sampler, rows: Sequence[Row]) -> Iterator[Tensor]:
    """One call an image; the images of one prompt follow each other from one generator.

    Decoded as in training: the autoencoder stays in float32 when the rest is kept in half precision.
    """
    generator = torch.Generator(sampler.generator or "cpu")
    half = diffuser.dtype != torch.float32
    for row in rows:
        if row.get("sample", 0) == 0:
            generator.manual_seed(row["seed"])
        name = row["sampler"] if sampler.name == "row" else sampler.name
        width, height = (row.get(side, sampler.size) for side in ("width", "height"))
        with (
            scheduler(diffuser.pipeline, name),
            torch.autocast(diffuser.device.type, diffuser.dtype, enabled=half),
        ):
            latents = diffuser.pipeline(
                prompt=row["prompt"],
                num_inference_steps=sampler.steps,
                guidance_scale=row.get("guidance", sampler.guidance) - diffuser.guidance_offset,
                width=width,
                height=height,
                generator=generator,
                output_type="latent",
                **diffuser.call_options,
            ).images
        yield diffuser.decode(diffuser.unpacked(latents.float()))[0].cpu()


@contextmanager
def scheduler(pipeline: Any, name: str) -> Iterator[None]:
    """Inside, the pipeline samples with another scheduler of the same noise schedule."""
    import diffusers

    before = pipeline.scheduler
    kind, settings = (type(before).__name__, {}) if name in FLOW.values() else SCHEDULERS[name]
    pipeline.scheduler = getattr(diffusers, kind).from_config(before.config, **settings)
    try:
        yield
    finally:
        pipeline.scheduler = before
