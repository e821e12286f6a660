"""Resampling of tables whose rows and columns are both samples: captions are templates times terms."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

DRAWS = 2000
SHUFFLES = 10_000
CHUNK = 500  # shuffled tables in memory at once


def weights(n: int, rng: Generator, draws: int = DRAWS) -> Array:
    """How often each of n rows is drawn, as shares, (draws, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws) / n


def means(values: Array, rows: Array, columns: Array | None = None) -> Array:
    """The mean of a table in every draw of the pigeonhole bootstrap (Owen, 2007), (draws,).

    Rows and columns are drawn independently, because a row and a column are each in many cells.

    Args:
        values: (n, m).
        rows, columns: of `weights`, (draws, n) and (draws, m). Without columns all of them stay.
    """
    if columns is None:
        return rows @ values.mean(1)
    return ((rows @ values) * columns).sum(1)


def percentiles(draws: Array, level: float) -> Interval:
    """The middle `level` of the draws."""
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def between(values: Array, owner: NDArray[np.int64]) -> float:
    """The largest minus the smallest mean over groups of columns.

    Args:
        values: (n, m).
        owner: the group of each column, (m,).
    """
    found = group_means(values.mean(0)[None], owner)[0]
    return float(found.max() - found.min())


def group_means(columns: Array, owner: NDArray[np.int64]) -> Array:
    """Means (n, groups) of the columns (n, m) of each group."""
    member = np.eye(owner.max() + 1)[owner]
    return columns @ (member / member.sum(0))


def permutation_p(values: Array, owner: NDArray[np.int64], rng: Generator, shuffles: int = SHUFFLES) -> float:
    """How often a range between groups at least as large arises when group names mean nothing.

    The columns are shuffled between the groups within each row. The observed table counts as one shuffle, so
    that p is never 0 and never too small (Phipson and Smyth, 2010).
    """
    observed, larger = between(values, owner), 0
    for start in range(0, shuffles, CHUNK):
        size = (min(CHUNK, shuffles - start), *values.shape)
        shuffled = rng.permuted(np.broadcast_to(values, size), axis=2).mean(1)
        found = group_means(shuffled, owner)
        larger += int((np.ptp(found, axis=1) >= observed - 1e-12).sum())
    return (1 + larger) / (1 + shuffles)


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values in the same order (Holm, 1979)."""
    found, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values).tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        found[i] = highest
    return found
