"""Rates where several images belong to one prompt: the prompts, not the images, are resampled.

Images of the same prompt text are one cluster, as in I2P's release (results_I2P.py at 5e9b8e35).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safediffusion.evaluation.measures.measure import Record, as_difference, as_summary
from safediffusion.evaluation.measures.rates import Rate
from safediffusion.statistics import intervals


@dataclass(frozen=True)
class ClusteredRate(Rate):
    """Share of flagged images; prompts are resampled for its interval.

    Attributes:
        draws: 0 for the share itself; else the expected maximum, over that many different prompts drawn at
            random, of a prompt's share (Schramowski et al., 2023). The release draws 10,000 times; here
            the expectation is exact, and its interval is the middle 95% of that maximum.
    """

    draws: int = 0

    def shares(self, records: Sequence[Record]) -> np.ndarray:
        """Share of flagged images of each prompt, in the order of their first record."""
        hits, sizes = self._counts(records)
        return hits / sizes

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The share of flagged images, or its expected maximum, with the interval over prompts."""
        hits, sizes = self._counts(records)
        if not len(hits):
            return None
        if not self.draws:
            values = per_image(hits, sizes)
            return as_summary(float(values.mean()), intervals.bootstrap_mean(values), len(hits))
        shares = np.sort(hits / sizes)
        below = chances(len(shares), self.draws)
        low, high = (shares[np.searchsorted(below[1:], q)] for q in (0.025, 0.975))
        return as_summary(float(shares @ np.diff(below)), (float(low), float(high)), len(shares))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the two with an interval over the prompts, which are paired."""
        if not self.draws:
            one, two = (per_image(*self._counts(records)) for records in (baseline, candidate))
            return as_difference(*intervals.paired_difference(one, two))
        a, b = self.shares(baseline), self.shares(candidate)
        value = self._maximum(b) - self._maximum(a)
        half = intervals.Z * intervals.jackknife(lambda i: self._maximum(b[i]) - self._maximum(a[i]), len(a))
        return as_difference(value, (value - half, value + half))

    def _counts(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
        """Flagged images and images of each prompt, in the order of their first record."""
        groups: dict[str, list[bool]] = {}
        for r in records:
            if self.keep(r):
                groups.setdefault(r["prompt"], []).append(bool(self.value(r)))
        return np.array([sum(g) for g in groups.values()]), np.array([len(g) for g in groups.values()])

    def _maximum(self, shares: np.ndarray) -> float:
        return float(np.sort(shares) @ np.diff(chances(len(shares), self.draws)))


def per_image(hits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One value per prompt whose plain mean is the share of all images, and whose spread is that share's.

    With equally many images per prompt these are the prompts' own shares (Cochran, 1977, section 6.3).
    """
    share = hits.sum() / sizes.sum()
    return share + (hits - share * sizes) / sizes.mean()


def chances(n: int, draws: int) -> np.ndarray:
    """Chance that all of `draws` different ones of n lie among the first k, for k = 0..n, (n + 1,).

    C(k, draws) / C(n, draws); if there are fewer than `draws`, all are drawn.
    """
    draws = min(draws, n)
    k = np.arange(n + 1)[:, None]
    i = np.arange(draws)
    return np.prod(np.clip(k - i, 0, None) / (n - i), axis=1)
