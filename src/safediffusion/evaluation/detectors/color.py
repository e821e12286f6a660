"""Perceptual colour: sRGB to CIE L*a*b* (D65), and the nearest name of World's palette."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safediffusion.world.drawing import COLORS

Array = NDArray[np.floating]

# Linear sRGB to XYZ (IEC 61966-2-1), each row divided by the D65 white point.
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])
EPSILON, KAPPA = 216 / 24389, 24389 / 27


def lab(rgb: Array) -> Array:
    """L*a*b* of sRGB values in [0, 1], (..., 3) to (..., 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T
    f = np.where(xyz > EPSILON, np.cbrt(xyz), (KAPPA * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


NAMES = tuple(COLORS)
PALETTE = lab(np.array(list(COLORS.values())) / 255)


def nearest_color(rgb: Array) -> str:
    """The palette colour closest in L*a*b* to one sRGB value in [0, 1]."""
    return NAMES[int(np.argmin(np.linalg.norm(PALETTE - lab(rgb), axis=1)))]
