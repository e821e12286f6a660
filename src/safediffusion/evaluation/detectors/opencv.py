"""OpenCV's bilinear resize of 8-bit pixels, to the last bit: what NudeNet and mmdet feed their networks.

It computes in whole numbers with 11 bits per weight, so a float resize gives other pixels. It does not
antialias.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ONE = 1 << 11  # a weight of 1 (INTER_RESIZE_COEF_SCALE of OpenCV's imgproc)

Pixels = NDArray[np.uint8]
Whole = NDArray[np.int32]


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image (3, h, w) in [0, 1] at (height, width), as resize_linear gives it; on the CPU."""
    pixels = (image.cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return torch.from_numpy(resize_linear(pixels, size)).permute(2, 0, 1).float() / 255


def resize_linear(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """cv2.resize(pixels, size[::-1]) with its default, INTER_LINEAR; equal from OpenCV 4.8 to 5.0.

    Args:
        pixels: (h, w, channels).
        size: height and width of the result; exactly half of both is the mean of four pixels.

    Returns:
        (height, width, channels).
    """
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels.copy()
    x = pixels.astype(np.int32)
    if (height, width) == (2 * size[0], 2 * size[1]):
        four = x[::2, ::2] + x[::2, 1::2] + x[1::2, ::2] + x[1::2, 1::2]
        return ((four + 2) >> 2).astype(np.uint8)
    return _down(_across(x, size[1]), size[0])


def _across(x: Whole, width: int) -> Whole:
    """Rows at their new width, times ONE; beyond the border lies the border's own pixel."""
    last = x.shape[1] - 1
    left, part = _places(x.shape[1], width)
    part = np.where((left < 0) | (left >= last), np.float32(0), part)
    near, far = _weights(part)
    left = left.clip(0, last)
    return x[:, left] * near[:, None] + x[:, np.minimum(left + 1, last)] * far[:, None]


def _down(rows: Whole, height: int) -> Pixels:
    """Rows times ONE at their new height, as 8-bit pixels; each product loses its lowest bits."""
    last = rows.shape[0] - 1
    top, part = _places(rows.shape[0], height)
    near, far = (w[:, None, None] for w in _weights(part))
    upper, lower = (rows[at.clip(0, last)] >> 4 for at in (top, top + 1))
    return ((((near * upper) >> 16) + ((far * lower) >> 16) + 2) >> 2).astype(np.uint8)


def _places(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each new pixel the old one before its centre, and how far the centre lies behind it."""
    scale = 1.0 / (new / old)  # not old / new: the double's last bit decides ties
    centre = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(centre)
    return before.astype(np.intp), centre - before


def _weights(part: NDArray[np.float32]) -> tuple[Whole, Whole]:
    """Weights of the pixel before and the one behind, in units of 1 / ONE; halves go to the even one."""
    near, far = (np.rint(w * np.float32(ONE)).astype(np.int32) for w in (np.float32(1) - part, part))
    return near, far
