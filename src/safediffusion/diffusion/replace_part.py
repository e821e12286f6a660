"""Puts published weights into one part of a pipeline: often a UNet or a text encoder is published alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.layout import weights_of
from safediffusion.diffusion.portable import TEXT_MODEL
from safediffusion.diffusion.tensor_files import check_file
from safediffusion.diffusion.weight_files import INDEX
from safediffusion.errors import UserError
from safediffusion.text.escaping import shorten

log = logging.getLogger(__name__)

PARTS = {"unet": "--unet", "text_encoder": "--text-encoder"}
# What a whole CLIP model has beside the text encoder, and a buffer that older files hold.
BESIDE = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale")
BUFFER = "position_ids"


@torch.no_grad()
def replace_part(diffuser: Diffuser, part: str, path: Path) -> None:
    """Replace the weights of a part by those of a file, in place; the file may hold a share of them.

    Args:
        diffuser: the model.
        part: a name of PARTS.
        path: a .safetensors file, or the folder of such a part as diffusers writes it.

    Raises:
        UserError: the model has no such part, or the file is not of its kind or of its shape.
    """
    module = getattr(diffuser.pipeline, part, None)
    if module is None:
        raise UserError(f"{PARTS[part]} needs a model with a {part}; a {type(diffuser).__name__} has none")
    own = module.state_dict()
    given = {name: tensor for file in files_of(path, part) for name, tensor in load_file(file).items()}
    given = renamed(given, own)
    check_fit(given, own, part, path)
    for name, tensor in given.items():
        own[name].copy_(tensor)
    if len(given) < len(own):
        log.warning("%s replaces %d of the %d tensors of %s", path, len(given), len(own), part)


def files_of(path: Path, part: str) -> list[Path]:
    """The safetensors files of a part.

    Raises:
        UserError: there are none, or they are incomplete.
    """
    option = PARTS[part]
    if not path.exists():
        raise UserError(f"{option} {path} does not exist; give a .safetensors file or a folder of one part")
    if (path / INDEX).is_file():
        raise UserError(f"{option} {path} is a whole pipeline; give the folder {path / part}")
    sets: dict[str | None, list[Path]] = weights_of(path) if path.is_dir() else {None: [path]}
    files = sets[min(sets, key=lambda variant: variant or "")]
    if any(file.suffix != ".safetensors" for file in files):
        raise UserError(
            f"{option} {path} may hold a pickle, which is never loaded; where you trust it, write its "
            "tensors as .safetensors, and give that file"
        )
    for file in files:
        check_file(file)
    return files


def renamed(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the part's own names: a text encoder's may have a prefix, and company."""
    names = {name: name for name in own}
    names |= {TEXT_MODEL + name: name for name in own} | {name.removeprefix(TEXT_MODEL): name for name in own}
    useful = {
        name: t for name, t in given.items() if not name.startswith(BESIDE) and not name.endswith(BUFFER)
    }
    return {names.get(name, name): tensor for name, tensor in useful.items()}


def check_fit(given: dict[str, Tensor], own: dict[str, Any], part: str, path: Path) -> None:
    """Refuse tensors that are not those of the part.

    Raises:
        UserError: the first name or shape that does not fit.
    """
    if not given:
        raise UserError(f"{PARTS[part]} {path} holds no tensor of a {part}; give the file of another model")
    for name, tensor in given.items():
        if name not in own:
            raise UserError(
                f"{PARTS[part]} {path} has a tensor {shorten(name)}, which this model's {part} has not; "
                "give one made for this model, in the form of diffusers"
            )
        if tensor.shape != own[name].shape:
            raise UserError(
                f"{PARTS[part]} {path} has {name} of shape {tuple(tensor.shape)}, and this model of "
                f"{tuple(own[name].shape)}; give one made for this model"
            )
