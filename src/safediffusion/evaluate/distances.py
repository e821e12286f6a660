"""Distances between two sets of image features: Frechet (FID) and kernel (KID), in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """|mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Heusel et al., 2017).

    The trace of the root is the sum of the roots of the eigenvalues of the symmetric
    C_x^(1/2) C_y C_x^(1/2), which avoids a complex matrix square root.

    Args:
        x, y: features, (n, d) and (m, d).
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    cov_a, cov_b = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.linalg.eigvalsh(root @ cov_b @ root)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return float(shift + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.clip(cross, 0, None)).sum())


def kernel_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Unbiased squared MMD with the cubic kernel (x.y / d + 1)^3 (Binkowski et al., 2018)."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m, d = len(a), len(b), a.shape[1]
    aa, bb, ab = ((p @ q.T / d + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())
