"""Boxes as detectors store them, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np


class Box(TypedDict):
    """One detection; the box is left, top, width, height in pixels of the image."""

    label: str
    score: float
    box: list[float]


def overlap(a: Sequence[float], b: Sequence[float]) -> np.float32:
    """Intersection over union of two boxes [left, top, width, height]; two empty boxes are the same.

    Taken as OpenCV takes it (rectOverlap of modules/dnn/src/nms.cpp): one minus the distance, in single
    precision, so that a pair that lies exactly on a threshold falls on OpenCV's side of it.
    """
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return np.float32(1) - np.float32(1 - shared / union if union > 0 else 0)


def suppress(boxes: Sequence[Box], threshold: float, max_overlap: float) -> list[Box]:
    """Greedy suppression across all classes, as OpenCV's NMSBoxes does it.

    Args:
        boxes: in any order; of equal scores the first goes first.
        threshold: only scores above it take part.
        max_overlap: a box that overlaps a more certain one by more than this is dropped.

    Returns:
        The boxes left, most certain first.
    """
    certain = sorted((b for b in boxes if b["score"] > threshold), key=lambda b: -b["score"])
    kept: list[Box] = []
    for box in certain:
        if all(overlap(box["box"], other["box"]) <= np.float32(max_overlap) for other in kept):
            kept.append(box)
    return kept
