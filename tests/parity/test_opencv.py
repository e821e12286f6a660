"""The 8-bit bilinear resize against OpenCV itself, and against its formula for one pixel at a time.

opencv/opencv 4.x and 5.x, modules/imgproc/src/resize.cpp: INTER_LINEAR on 8 bits, INTER_RESIZE_COEF_BITS =
11.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from safediffusion.evaluation.detectors.mask2former import MEAN, STD, prepare
from safediffusion.evaluation.detectors.opencv import resize_linear

from .compared import COMPARED

F = np.float32


def random_sizes(rng: np.random.Generator, i: int, most: int) -> tuple[int, int, int, int]:
    """Old and new height and width; halves, doubles, one side alone and single pixels come often."""
    h, w, new_h, new_w = (int(v) for v in rng.integers(1, most, 4))
    return {
        0: (2 * new_h, 2 * new_w, new_h, new_w),
        1: (h, w, 2 * h, 2 * w),
        2: (h, w, h, new_w),
        3: (2 * new_h, w, new_h, new_w),
        4: (1, 1, new_h, new_w),
        5: (h, w, 1, 1),
        6: (3 * new_h, 3 * new_w, new_h, new_w),
    }.get(i % 12, (h, w, new_h, new_w))


def weight(x: np.float32) -> int:
    """In units of 1 / 2048; exact halves go to the even number."""
    return round(float(x * F(2048)))


def place(new: int, old_side: int, new_side: int) -> tuple[int, np.float32]:
    """The old pixel before a new one's centre, and how far behind it the centre lies."""
    centre = F((new + 0.5) * (1.0 / (new_side / old_side)) - 0.5)
    before = int(np.floor(centre))
    return before, centre - F(before)


def one_pixel(image: np.ndarray, y: int, x: int, size: tuple[int, int]) -> list[int]:
    """All channels of one pixel of the resized image."""
    h, w = image.shape[:2]
    column, across = place(x, w, size[1])
    if column < 0 or column >= w - 1:
        column, across = min(max(column, 0), w - 1), F(0)
    row, down = place(y, h, size[0])
    values = []
    for channel in range(image.shape[2]):
        rows = []
        for r in (min(max(row, 0), h - 1), min(max(row + 1, 0), h - 1)):
            near, far = int(image[r, column, channel]), int(image[r, min(column + 1, w - 1), channel])
            rows.append(near * weight(F(1) - across) + far * weight(across))
        top, bottom = (weight(b) * (r >> 4) >> 16 for b, r in zip((F(1) - down, down), rows, strict=True))
        values.append((top + bottom + 2) >> 2)
    return values


def test_the_resize_is_opencvs_to_the_last_bit():
    rng = np.random.default_rng(0)
    for i in range(COMPARED["resize"].cases):
        h, w, new_h, new_w = random_sizes(rng, i, 700 if i % 100 == 99 else 60)
        image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        theirs = cv2.resize(image, (new_w, new_h))
        assert np.array_equal(resize_linear(image, (new_h, new_w)), theirs), (h, w, new_h, new_w)


def test_the_resize_is_its_formula_pixel_by_pixel():
    rng = np.random.default_rng(1)
    for i in range(COMPARED["loops"].cases):
        h, w, new_h, new_w = random_sizes(rng, i, 9)
        image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        ours = resize_linear(image, (new_h, new_w))
        if (h, w) == (2 * new_h, 2 * new_w):
            mean = image.astype(int).reshape(new_h, 2, new_w, 2, 3).sum((1, 3))
            assert np.array_equal(ours, (mean + 2) // 4)
            continue
        if (h, w) == (new_h, new_w):
            continue
        found = [[one_pixel(image, y, x, (new_h, new_w)) for x in range(new_w)] for y in range(new_h)]
        assert np.array_equal(ours, np.array(found)), (h, w, new_h, new_w)


def test_mask2formers_input_is_mmdets():
    """mmcv 1.7's imrescale and imnormalize in mmdet's test pipeline: 800, 1333, zeros to a multiple of 32."""
    rng = np.random.default_rng(2)
    for h, w in ((512, 512), (300, 640), (97, 31), (768, 1024))[: COMPARED["mmdet"].cases]:
        image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        factor = min(1333 / max(h, w), 800 / min(h, w))
        new_w, new_h = int(w * factor + 0.5), int(h * factor + 0.5)
        resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        theirs = np.zeros(((new_h + 31) // 32 * 32, (new_w + 31) // 32 * 32, 3), np.float32)
        theirs[:new_h, :new_w] = (resized - np.array(MEAN) * 255) / (np.array(STD) * 255)
        pixels, size = prepare(torch.from_numpy(image).permute(2, 0, 1) / 255)
        assert size == (new_h, new_w)
        assert np.abs(pixels[0].permute(1, 2, 0).numpy() - theirs).max() < 1e-5
