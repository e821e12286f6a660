"""How images become an encoder's input: resized and normalised in torch, on the device they are on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Resample = Literal["bicubic", "bilinear"]


def preprocess(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """CLIP's: shortest side to `size`, bicubic with antialias, centre crop.

    Args:
        images: (n, 3, h, w) in [0, 1].
        size: side of the encoder's input in pixels.
        mean, std: one value per channel.

    Returns:
        (n, 3, size, size), normalised.
    """
    if images.shape[-2:] != (size, size):
        target = shortest_side(images.shape[-2], images.shape[-1], size)
        images = F.interpolate(images, target, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (target[0] - size) // 2, (target[1] - size) // 2
        images = images[..., top : top + size, left : left + size]
    return normalise(images, mean, std)


def shortest_side(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width with the shortest side at `size`: the other is size * long / short, cut.

    The order of multiplication and division matters: 720 * (224 / 320) is 503.99..., 224 * 720 / 320 is 504.
    It is that of torchvision's Resize, so of OpenAI's CLIP, OpenCLIP and transformers.
    """
    longest = int(size * max(height, width) / min(height, width))
    return (longest, size) if width <= height else (size, longest)


def squash(
    images: Tensor, size: int, mean: Sequence[float], std: Sequence[float], resample: Resample
) -> Tensor:
    """SigLIP's: both sides to `size`, whatever the proportions; arguments and result as in preprocess."""
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, (size, size), mode=resample, antialias=True).clamp(0, 1)
    return normalise(images, mean, std)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x - mean) / std by channel."""
    return (images - images.new_tensor(mean).view(1, 3, 1, 1)) / images.new_tensor(std).view(1, 3, 1, 1)
