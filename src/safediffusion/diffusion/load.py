"""From a path, a hub id or the word `world` to a Diffuser."""

from pathlib import Path
from typing import cast

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.errors import UserError
from safediffusion.world import asset

SUPPORTED = {"StableDiffusionPipeline": StableDiffusionPipeline}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")  # names of x86's and ARM's instructions for it


def load_model(path: str | Path, device: str | torch.device = "cpu", dtype: str = "auto") -> Diffuser:
    """A text-to-image model as a policy.

    Args:
        path: a diffusers folder, a hub id, or "world" for the embedded model.
        device: where it runs.
        dtype: "fp32", "bf16" for autocast around the network, or "auto", see `native_dtype`.
    """
    source = asset("pipeline") if str(path) == "world" else path
    if str(path) == "world" and not asset("pipeline").exists():
        raise UserError("World's networks are not installed here; train them: safediffusion world build")
    kind = SUPPORTED[_pipeline_class(source)]
    pipeline = kind.from_pretrained(
        str(source), torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return StableDiffusion(pipeline, device, native_dtype(device) if dtype == "auto" else DTYPES[dtype])


def native_dtype(device: str | torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware, else float32; emulation is slower than float32."""
    kind = torch.device(device).type
    if kind == "cpu":
        units = torch.cpu.get_capabilities()
        native = any(units.get(name, False) for name in BFLOAT16_UNITS)
    else:
        native = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def _pipeline_class(source: str | Path) -> str:
    local = Path(source)
    if local.is_dir() and not (local / "model_index.json").is_file():
        raise UserError(
            f"{source} is no diffusers pipeline: it has no model_index.json. "
            "Set model.path to a folder written by save_pretrained, a hub id, or world."
        )
    try:
        name = cast(dict[str, str], DiffusionPipeline.load_config(str(source)))["_class_name"]
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model.path={source} could not be opened: {reason} Set a folder, a hub id or world."
        ) from error
    if name not in SUPPORTED:
        raise UserError(
            f"{source} is a {name}, which is not supported. Set model.path to one of: {', '.join(SUPPORTED)}."
        )
    return name
