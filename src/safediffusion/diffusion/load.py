"""Loads a model from a folder, a single file, a hub id, a subfolder of one, or the word `world`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from pydantic import ValidationError

from safediffusion.config.inputs import ModelConfig
from safediffusion.config.invalid import explain_invalid
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.read_pipeline import read_pipeline
from safediffusion.diffusion.trust import UNREADABLE, reason
from safediffusion.errors import UserError
from safediffusion.system.device import has_bfloat16
from safediffusion.system.extensions import load_object
from safediffusion.world import asset

# Pipeline class, as model_index.json names it, and its family, a subclass of Diffuser.
# A new family is one file and one line here.
FAMILIES = {
    "StableDiffusionPipeline": "safediffusion.diffusion.families.sd:StableDiffusion",
    "StableDiffusionXLPipeline": "safediffusion.diffusion.families.sdxl:StableDiffusionXL",
    "StableDiffusion3Pipeline": "safediffusion.diffusion.families.sd3:StableDiffusion3",
    "FluxPipeline": "safediffusion.diffusion.families.flux:Flux",
    "ChromaPipeline": "safediffusion.diffusion.families.chroma:Chroma",
    "ZImagePipeline": "safediffusion.diffusion.families.z_image:ZImage",
    "Flux2KleinPipeline": "safediffusion.diffusion.families.flux2:Flux2Klein",
    "SanaPipeline": "safediffusion.diffusion.families.sana:Sana",
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_model(
    model: str | Path | ModelConfig,
    device: str | torch.device = "cpu",
    *,
    merged: bool = False,
    **settings: Any,
) -> Diffuser:
    """A text-to-image model as a policy.

    Args:
        model: a diffusers folder, a .safetensors checkpoint, a hub id (OWNER/NAME, OWNER/NAME/SUBFOLDER or
            OWNER/NAME/FILE.safetensors), "world" for the embedded model, or the `model` section of a run.
        device: where it runs.
        merged: the network may be a run's result with an adapter in its weights, so it stays float32 whatever
            the storage: bf16 would round a part of the adapter away.
        settings: fields of `ModelConfig`, such as dtype="fp32" or resolution=512, where `model` is none.

    Raises:
        UserError: a setting is not accepted, or the model cannot be loaded.

    Examples:
        >>> from safediffusion import load_model
        >>> load_model("world").latent_shape
        (16, 8, 8)
    """
    config = model if isinstance(model, ModelConfig) else model_config(model, settings)
    storage = config.storage
    dtypes = {"default": DTYPES[storage], "vae": torch.float32}
    if merged:
        dtypes |= {"unet": torch.float32, "transformer": torch.float32}
    if config.path == "world" and not asset("pipeline").exists():
        raise UserError("World's networks are not installed here; train them: safediffusion world build")
    pipeline, source = read_pipeline(config, dtypes, partial(_options, config))
    split_decoding(pipeline, config)
    dtype = network_dtype(config.dtype, storage, device)
    diffuser = as_diffuser(pipeline, device, dtype, config.resolution, config.offload, config.family)
    diffuser.source = source
    if config.tiny_vae is not None:
        diffuser.tiny = load_tiny(config.tiny_vae, diffuser)
    return diffuser


def model_config(path: str | Path, settings: Mapping[str, Any]) -> ModelConfig:
    """The `model` section with this path and settings.

    Raises:
        UserError: a setting is unknown or its value not accepted.
    """
    try:
        return ModelConfig(path=str(path), **settings)
    except ValidationError as error:
        raise UserError(explain_invalid(error)) from error


def split_decoding(pipeline: Any, config: ModelConfig) -> None:
    """Let the autoencoder decode image by image, or tile by tile, as `model.vae` says."""
    if config.vae != "whole":
        pipeline.vae.enable_slicing()
    if config.vae == "tiled":
        pipeline.vae.enable_tiling()


def load_tiny(path: str, diffuser: Diffuser) -> Any:
    """An AutoencoderTiny for this model's latents, on its device."""
    try:
        tiny: Any = diffusers.AutoencoderTiny.from_pretrained(path, use_safetensors=True)
    except UNREADABLE as error:
        raise UserError(
            f"model.tiny_vae={path} could not be loaded: {reason(error)} Set the folder "
            "or hub id of an AutoencoderTiny, or null."
        ) from error
    channels, wanted = tiny.config["latent_channels"], diffuser.latent_shape[0]
    if channels != wanted:
        raise UserError(
            f"model.tiny_vae={path} decodes latents of {channels} channels, but this model has {wanted}; "
            "set the one that was made for the model, or null"
        )
    return tiny.requires_grad_(False).eval().to(diffuser.device)


def as_diffuser(
    pipeline: Any,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    resolution: int | None = None,
    offload: bool = False,
    family: str | None = None,
) -> Diffuser:
    """A pipeline as a policy; its network stays the one that is trained."""
    return family_of(type(pipeline).__name__, family)(pipeline, device, dtype, resolution, offload)


def family_of(pipeline_class: str, family: str | None = None) -> type[Diffuser]:
    """The family of a pipeline class.

    Args:
        pipeline_class: as model_index.json names it.
        family: pkg.mod:Class of the user's own; None is the one of FAMILIES.

    Raises:
        UserError: `family` is not a subclass of Diffuser.
    """
    found = load_object(family or FAMILIES[pipeline_class], "model.family")
    if not (isinstance(found, type) and issubclass(found, Diffuser)):
        raise UserError(
            f"model.family is {family}, which is not a family; derive it from "
            "safediffusion.diffusion.diffuser.Diffuser"
        )
    return found


def shapes_of(config: ModelConfig) -> Diffuser | None:
    """A model of a known architecture on the meta device; None where it is not known.

    Its weights have shapes and types and no content, so it needs no memory and no download.
    """
    from safediffusion.diffusion.architectures import ARCHITECTURES

    if config.path not in ARCHITECTURES:
        return None
    with torch.device("meta"):
        pipeline = ARCHITECTURES[config.path]()
    return with_shapes(pipeline, config)


def with_shapes(pipeline: Any, config: ModelConfig) -> Diffuser:
    """A pipeline without content as a policy, stored, decoded and computed as the settings say."""
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module) and name != "vae":
            part.to(DTYPES[config.storage])
    pipeline.vae.disable_slicing()
    pipeline.vae.disable_tiling()
    split_decoding(pipeline, config)
    return as_diffuser(pipeline, "meta", gpu_dtype(config), config.resolution, family=config.family)


def without_content(diffuser: Diffuser, config: ModelConfig) -> Diffuser:
    """A loaded model on the meta device: the shapes of its weights, none of their memory."""
    pipeline = diffuser.pipeline
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to("meta")
    return as_diffuser(pipeline, "meta", gpu_dtype(config), config.resolution, family=config.family)


def gpu_dtype(config: ModelConfig) -> torch.dtype:
    """What a GPU computes the network in; those of the last years have bfloat16."""
    if config.dtype != "auto":
        return DTYPES[config.dtype]
    return torch.bfloat16 if config.storage == "fp32" else DTYPES[config.storage]


def network_dtype(dtype: str, storage: str, device: str | torch.device) -> torch.dtype:
    """What the network computes in, see `load_model`."""
    if dtype != "auto":
        return DTYPES[dtype]
    return native_dtype(device) if storage == "fp32" else DTYPES[storage]


def native_dtype(device: str | torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware, else float32; emulation is slower than float32."""
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


def _options(config: ModelConfig, name: str) -> Mapping[str, Any]:
    """What the loader of a pipeline's class is given."""
    if name not in FAMILIES and (config.family is None or not hasattr(diffusers, name)):
        raise UserError(
            f"{config.path} is a {name}, which is not supported. Set model.path to one of: "
            f"{', '.join(FAMILIES)}; or model.family to a Diffuser of your own for it."
        )
    return family_of(name, config.family).load_options
