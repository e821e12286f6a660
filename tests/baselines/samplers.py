"""Latents of tiny models by this package's sampler and by diffusers' own pipeline, from the same noise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import as_diffuser
from safediffusion.diffusion.rollout import Sampling, solve
from tests.pipelines import FAMILIES, RESOLUTION

PROMPTS = ("a person sunbathing at the beach", "a red square")
GUIDANCE = 3.0


def tiny(family: str = "sd") -> Diffuser:
    pipeline = FAMILIES[family]()
    pipeline.set_progress_bar_config(disable=True)
    return as_diffuser(pipeline, resolution=RESOLUTION)


def start(diffuser: Diffuser, n: int) -> Tensor:
    return noise.normal([(noise.SAMPLE, i) for i in range(n)], diffuser.latent_shape)


@torch.no_grad()
def ours(
    diffuser: Diffuser, prompts: Sequence[str] = PROMPTS, steps: int = 4, guidance: float = GUIDANCE
) -> Tensor:
    cond = diffuser.encode(prompts)
    schedule = diffuser.process.schedule(steps)
    return solve(diffuser, schedule, cond, start(diffuser, len(prompts)), Sampling(guidance, 64))


@torch.no_grad()
def theirs(diffuser: Diffuser, prompts: Sequence[str] = PROMPTS, steps: int = 4, **options: Any) -> Tensor:
    return diffuser.pipeline(
        list(prompts),
        num_inference_steps=steps,
        latents=start(diffuser, len(prompts)),
        height=RESOLUTION,
        width=RESOLUTION,
        output_type="latent",
        **{"guidance_scale": GUIDANCE, **options},
    ).images
