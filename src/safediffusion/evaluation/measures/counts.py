"""Counts and means of a value per record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safediffusion.evaluation.measures.measure import (
    Keep,
    OfRecords,
    Record,
    ValueOf,
    as_difference,
    as_summary,
    every,
)
from safediffusion.statistics import intervals


@dataclass(frozen=True)
class Count(OfRecords):
    """Sum of `value` over the records: exact Poisson; paired: BCa of the sum of differences."""

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The sum over the records kept and its exact Poisson interval."""
        counts = [int(self.value(r)) for r in records if self.keep(r)]
        return as_summary(sum(counts), intervals.poisson(sum(counts)), len(counts)) if counts else None

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the sums with a BCa interval."""
        a, b = ([self.value(r) for r in rows if self.keep(r)] for rows in (baseline, candidate))
        mean, (low, high) = intervals.paired_difference(a, b)
        return as_difference(len(a) * mean, (len(a) * low, len(a) * high))


@dataclass(frozen=True)
class Mean:
    """Mean of `value`: BCa bootstrap, paired likewise."""

    name: str
    higher_is_better: bool
    protocol: str
    value: ValueOf
    needs: tuple[str, ...] = ()
    keep: Keep = every

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The mean over the records kept with a BCa interval."""
        values = [self.value(r) for r in records if self.keep(r)]
        if not values:
            return None
        return as_summary(float(np.mean(values)), intervals.bootstrap_mean(values), len(values))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the means with a BCa interval."""
        return as_difference(
            *intervals.paired_difference(
                [self.value(r) for r in baseline if self.keep(r)],
                [self.value(r) for r in candidate if self.keep(r)],
            )
        )
