"""Distances between two sets of image features: Frechet (FID) and kernel (KID), in float64."""

from __future__ import annotations

import math

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


def kernel_distance(x: ArrayLike, y: ArrayLike, block: int = 1024) -> float:
    """Unbiased squared MMD with the cubic kernel (x.y / d + 1)^3 (Binkowski et al., 2018).

    Args:
        x, y: features, (n, d) and (m, d), at least two rows each.
        block: rows whose kernel is in memory at once, block^2 numbers; the value does not depend on it.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m = len(a), len(b)
    own = [(_kernel_sum(p, p, block) - _kernel_trace(p)) / (len(p) * (len(p) - 1)) for p in (a, b)]
    return float(sum(own) - 2 * _kernel_sum(a, b, block) / (n * m))


def _kernel_sum(x: np.ndarray, y: np.ndarray, block: int) -> float:
    """Sum of the kernel over all pairs, added exactly over the blocks."""
    parts = (
        (x[i : i + block], y[j : j + block]) for i in range(0, len(x), block) for j in range(0, len(y), block)
    )
    return math.fsum(((p @ q.T / p.shape[1] + 1) ** 3).sum() for p, q in parts)


def _kernel_trace(x: np.ndarray) -> float:
    """Sum of the kernel of each row with itself."""
    return float(((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum())
