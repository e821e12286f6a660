"""FID's resize, FID and KID against GaParmar/clean-fid.

cleanfid/resize.py at 353c13ed, cleanfid/fid.py at 01ff7481.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from safediffusion.evaluation.detectors.inception import clean_resize
from safediffusion.evaluation.measures.distances import frechet_distance, kernel_distance

from .compared import COMPARED


def bicubic(x: float) -> float:
    """Pillow's cubic filter, a = -0.5."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def weights(old: int, new: int) -> np.ndarray:
    """(new, old): each new pixel's weights; the filter is widened where the image shrinks (antialias)."""
    scale = old / new
    wide = max(scale, 1.0)
    table = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * scale
        low, high = max(int(centre - 2 * wide + 0.5), 0), min(int(centre + 2 * wide + 0.5), old)
        row = [bicubic((k - centre + 0.5) / wide) for k in range(low, high)]
        table[i, low:high] = np.array(row) / sum(row)
    return table


def test_the_resize_is_clean_fids():
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.choice([5, 64, 299, 300, 400], (COMPARED["clean"].cases, 2))]
    tables = {old: weights(old, 299) for old in {side for size in sizes for side in size}}
    for h, w in sizes:
        image = rng.integers(0, 256, (3, h, w)).astype(np.uint8)
        theirs = (tables[h] @ (image.astype(np.float64) @ tables[w].T)).clip(0, 255)
        ours = clean_resize(torch.from_numpy(image) / 255).numpy()
        assert np.abs(ours - theirs).max() < 2e-4, (h, w)


def release_fid(x: np.ndarray, y: np.ndarray) -> float:
    """frechet_distance by the root of the product of the covariances, its real part."""
    covariances = []
    for features in (x, y):
        mean, total = features.sum(0) / len(features), np.zeros((x.shape[1], x.shape[1]))
        for row in features:
            total += np.outer(row - mean, row - mean)
        covariances.append(total / (len(features) - 1))
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    shift = x.mean(0) - y.mean(0)
    return float(
        shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real
    )


def release_kid(x: np.ndarray, y: np.ndarray) -> float:
    """kernel_distance with one subset that is everything: pairs of different rows, and all across."""
    m, d = x.shape
    kernel = [[[(float(a @ b) / d + 1) ** 3 for b in q] for a in p] for p, q in ((x, x), (y, y), (x, y))]
    within = sum(k[i][j] for k in kernel[:2] for i in range(m) for j in range(m) if i != j)
    across = sum(map(sum, kernel[2]))
    return (within / (m - 1) - 2 * across / m) / m


def test_fid_is_clean_fids():
    rng = np.random.default_rng(1)
    for _ in range(COMPARED["fid"].cases):
        d = int(rng.integers(2, 9))
        x, y = (
            rng.normal(rng.uniform(), rng.uniform(0.5, 2), (int(rng.integers(d + 2, 40)), d)) for _ in "xy"
        )
        assert frechet_distance(x, y) == pytest.approx(release_fid(x, y), rel=1e-6, abs=1e-6)


def test_kid_is_clean_fids():
    rng = np.random.default_rng(2)
    for _ in range(COMPARED["kid"].cases):
        m, d = (int(v) for v in rng.integers(2, 9, 2))
        x, y = rng.normal(0, 1, (m, d)), rng.normal(0.3, 1, (m, d))
        assert kernel_distance(x, y) == pytest.approx(release_kid(x, y), rel=1e-9, abs=1e-9)
