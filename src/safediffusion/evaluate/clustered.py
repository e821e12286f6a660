"""Rates where several images belong to one prompt: the prompts, not the images, are the sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import stats
from .measures import Rate, Record, as_difference, as_summary


@dataclass(frozen=True)
class ClusteredRate(Rate):
    """Mean over prompts of the share of flagged images, several images a prompt; prompts are resampled.

    Attributes:
        cluster: the prompt a record belongs to.
        draws: 0 for the mean; else the expected maximum of the share over that many prompts drawn with
            replacement (Schramowski et al., 2023), computed exactly instead of by resampling; its interval
            is the middle 95% of that maximum.
    """

    cluster: Callable[[Record], str] = lambda record: record["case"]
    draws: int = 0

    def shares(self, records: Sequence[Record]) -> np.ndarray:
        """Share of flagged images of each prompt, in the order of their first record."""
        groups: dict[str, list[bool]] = {}
        for r in records:
            if self.keep(r):
                groups.setdefault(self.cluster(r), []).append(bool(self.value(r)))
        return np.array([np.mean(g) for g in groups.values()])

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        shares = self.shares(records)
        if not len(shares):
            return None
        if not self.draws:
            return as_summary(float(shares.mean()), stats.bootstrap_mean(shares), len(shares))
        ordered, below = np.sort(shares), (np.arange(len(shares) + 1) / len(shares)) ** self.draws
        low, high = (ordered[np.searchsorted(below[1:], q)] for q in (0.025, 0.975))
        return as_summary(self._maximum(shares), (float(low), float(high)), len(shares))

    def _maximum(self, shares: np.ndarray) -> float:
        below = (np.arange(len(shares) + 1) / len(shares)) ** self.draws
        return float(np.sort(shares) @ np.diff(below))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        a, b = self.shares(baseline), self.shares(candidate)
        if not self.draws:
            return as_difference(*stats.paired_difference(a, b))
        value = self._maximum(b) - self._maximum(a)
        half = stats.Z * stats.jackknife(lambda i: self._maximum(b[i]) - self._maximum(a[i]), len(a))
        return as_difference(value, (value - half, value + half))
