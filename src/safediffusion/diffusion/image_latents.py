"""Latents of pictures in files, as the diffusion model has them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.diffusion.autoencoder import encoded
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.finite import finite
from safediffusion.errors import UserError
from safediffusion.files.image_files import read_image


def image_latents(diffuser: Diffuser, paths: Iterable[Path]) -> Tensor:
    """Latents (n, c, h, w) on the model's device, one picture encoded at a time.

    Args:
        diffuser: whose autoencoder encodes them.
        paths: of images of any size; each is cropped to its middle square.

    Raises:
        UserError: an image cannot be read.
    """
    found = []
    for path in paths:
        image = read_image(path)
        if isinstance(image, str):
            raise UserError(f"{path.parent}: {image}; replace or remove it")
        whole = square(image, diffuser.resolution).to(diffuser.device)
        found.append(encoded(diffuser.pipeline.vae, whole[None]))
    return finite(torch.cat(found))


def square(image: Tensor, side: int) -> Tensor:
    """The middle square of an image (3, h, w) in [0, 1], resized to (3, side, side)."""
    height, width = image.shape[1:]
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    middle = image[None, :, top : top + size, left : left + size]
    return F.interpolate(middle, (side, side), mode="bicubic", antialias=True).clamp(0, 1)[0]
