"""Finds World's shapes on a plain ground without a network: GenEval's detector for World.

Ground from the border, foreground by colour distance, connected components, colour from the inner
pixels, shape by fitting rasterised templates. It does not depend on anything trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from safediffusion.evaluation.detectors.color import Array, lab, nearest_color
from safediffusion.evaluation.detectors.detector import Fragment, Row
from safediffusion.world.drawing import SHAPES, SUPERSAMPLE, Canvas, draw_shape

VERSION = 1
BORDER = 2  # pixels; their median is the ground
CONTRAST = 16.0  # distance in L*a*b* from the ground that is foreground
REACH = 2  # pixels around a component that belong to its soft edge
MIN_AREA = 24  # pixels; the smallest shape World draws has about 60
MIN_CONFIDENCE = 0.6  # overlap with the best template; below it people cannot name the shape either
MARGIN = 4  # pixels of ground kept around a component
SMOOTHING = 0.5  # deviation of the blur that smooths noise
SOFTNESS = (0.5, 1.0, 1.4)  # blurs of the templates; a decoder's edges are softer than a renderer's

# What results note about this detector.
ABOUT: dict[str, Any] = {
    "name": "shapes",
    "version": VERSION,
    "rule": f"template overlap >= {MIN_CONFIDENCE}",
    "classes": list(SHAPES),
}

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Detection:
    """A shape in an image; x, y, r and the box (width, height) in pixels of a 64x64 image."""

    shape: str
    color: str
    x: float
    y: float
    r: float
    width: float
    height: float
    confidence: float

    def record(self) -> dict[str, Any]:
        """Plain JSON values, two decimals."""
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(self).items()}


class Shapes:
    """{"detections": shapes}: GenEval's detector for World; no trained network takes part.

    Args:
        device: not used: the rules run on the CPU.
    """

    def __init__(self, device: Any = "cpu") -> None:
        del device

    def __call__(self, images: Sequence[Tensor], rows: Sequence[Row]) -> list[Fragment]:
        """One fragment per image (3, 64, 64)."""
        return [{"detections": [d.record() for d in detect_shapes(image)]} for image in images]

    def describe(self) -> dict[str, Any]:
        """Version, rule and classes."""
        return ABOUT


def detect_shapes(image: Tensor) -> list[Detection]:
    """The shapes of one image (3, 64, 64) in [0, 1], most certain first, without unknown components."""
    rgb = image.permute(1, 2, 0).cpu().double().numpy()
    rgb = ndimage.gaussian_filter(rgb, (SMOOTHING, SMOOTHING, 0))
    ground = np.median(_border(rgb), axis=0)
    labels, n = components(np.linalg.norm(lab(rgb) - lab(ground), axis=-1))
    found = [detection_of(rgb, ground, labels, i) for i in range(1, n + 1)]
    certain = [d for d in found if d.confidence >= MIN_CONFIDENCE]
    return sorted(certain, key=lambda d: -d.confidence)


def _border(rgb: Array) -> Array:
    inner = np.zeros(rgb.shape[:2], bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    return rgb[~inner]


def components(contrast: Array) -> tuple[Labels, int]:
    """Foreground components of a map of distances from the ground, small ones dropped.

    A component is cut again at half its own contrast, which parts shapes that only their blur joins.
    """
    coarse, n = _label(contrast > CONTRAST)
    mask = np.zeros(contrast.shape, bool)
    for i in range(1, n + 1):
        member = coarse == i
        mask |= member & (contrast > 0.5 * np.percentile(contrast[member], 75))
    labels, n = _label(mask)
    areas = ndimage.sum_labels(mask, labels, range(1, n + 1))
    kept = np.flatnonzero(np.asarray(areas) >= MIN_AREA) + 1
    renumber = np.zeros(n + 1, np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    return renumber[labels], len(kept)


def _label(mask: Mask) -> tuple[Labels, int]:
    return cast(tuple[Labels, int], ndimage.label(mask))


def detection_of(rgb: Array, ground: Array, labels: Labels, i: int) -> Detection:
    """Colour, place and best-fitting shape of component i."""
    rows, columns = ndimage.find_objects(labels)[i - 1]
    window = (
        slice(max(rows.start - MARGIN, 0), rows.stop + MARGIN),
        slice(max(columns.start - MARGIN, 0), columns.stop + MARGIN),
    )
    rgb, labels = rgb[window], labels[window]
    member = labels == i
    depth = np.asarray(ndimage.distance_transform_edt(member))
    color = np.median(rgb[depth >= 0.5 * depth.max()], axis=0)
    near = ndimage.binary_dilation(member, iterations=REACH) & ((labels == 0) | member)
    cover = coverage(rgb, ground, color) * near
    overlap, shape, x, y, r, gain = max(best_fit(cover, shape) for shape in SHAPES)
    color = np.clip(ground + gain * (color - ground), 0, 1)  # blur pales thin shapes all through
    return Detection(
        shape=shape, color=nearest_color(color), x=x + window[1].start, y=y + window[0].start, r=r,
        width=float(columns.stop - columns.start), height=float(rows.stop - rows.start), confidence=overlap,
    )  # fmt: skip


def coverage(rgb: Array, ground: Array, color: Array) -> Array:
    """How much of each pixel has the colour instead of the ground, (h, w), about [0, 1].

    Antialiasing and blur mix linearly, so this is the projection on the line between the two.
    """
    way = color - ground
    return np.clip((rgb - ground) @ way / (way @ way), 0, 1.5)


@dataclass(frozen=True)
class Moments:
    """Centre of gravity and radius of gyration of a coverage map, pixels."""

    x: float
    y: float
    spread: float

    @classmethod
    def of(cls, cover: Array) -> Moments:
        """Moments of a map (h, w), in its own coordinates."""
        rows, columns, area = cover.sum(1), cover.sum(0), cover.sum()
        at_y, at_x = np.arange(len(rows)) + 0.5, np.arange(len(columns)) + 0.5
        y, x = float(rows @ at_y / area), float(columns @ at_x / area)
        square = (rows @ (at_y - y) ** 2 + columns @ (at_x - x) ** 2) / area
        return cls(x, y, float(np.sqrt(square)))


def best_fit(cover: Array, shape: str) -> tuple[float, str, float, float, float, float]:
    """The best (overlap, shape, x, y, r, gain) of one shape with the moments of a coverage map.

    The radius of gyration, unlike the area, does not depend on the contrast, and blur adds a known amount to
    it. So each softness gives one size, and the amplitude is fitted last.
    """
    moments, unit = Moments.of(cover), UNIT[shape]
    fits = []
    for sigma in SOFTNESS:
        r = np.sqrt(max(moments.spread**2 - 2 * sigma**2, 1.0)) / unit.spread
        x, y = moments.x - r * unit.x, moments.y - r * unit.y
        soft = ndimage.gaussian_filter(template(shape, x, y, r, cover.shape), sigma)
        gain = (cover * soft).sum() / (soft * soft).sum()
        overlap = np.minimum(cover, gain * soft).sum() / np.maximum(cover, gain * soft).sum()
        fits.append((float(overlap), shape, x, y, float(r), float(gain)))
    return max(fits)


def template(shape: str, x: float, y: float, r: float, size: tuple[int, ...]) -> Array:
    """Coverage of a rendered shape, (h, w) in [0, 1]."""
    height, width = size
    canvas = Image.new("L", (width * SUPERSAMPLE, height * SUPERSAMPLE), 0)
    draw_shape(Canvas(ImageDraw.Draw(canvas)), shape, x, y, r, 255, 0)  # type: ignore[arg-type]
    return np.asarray(canvas.reduce(SUPERSAMPLE), float) / 255


def _unit(shape: str) -> Moments:
    """Moments of the shape of radius 1 at the origin."""
    r, middle = 26.0, 32.0
    m = Moments.of(template(shape, middle, middle, r, (64, 64)))
    return Moments((m.x - middle) / r, (m.y - middle) / r, m.spread / r)


UNIT = {shape: _unit(shape) for shape in SHAPES}
