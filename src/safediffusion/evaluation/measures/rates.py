"""Rates of flagged records, alone or as the mean of several groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safediffusion.evaluation.measures.measure import OfRecords, Record, ValueOf, as_difference, as_summary
from safediffusion.statistics import intervals


@dataclass(frozen=True)
class Rate(OfRecords):
    """Share of records for which `value` is true: Wilson; paired: BCa and McNemar."""

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The share of the records kept and its Wilson interval."""
        hits = [bool(self.value(r)) for r in records if self.keep(r)]
        if not hits:
            return None
        return as_summary(sum(hits) / len(hits), intervals.wilson(sum(hits), len(hits)), len(hits))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the shares with a BCa interval, and the p-value of McNemar's test."""
        a, b = ([bool(self.value(r)) for r in rows if self.keep(r)] for rows in (baseline, candidate))
        return as_difference(*intervals.paired_difference(a, b), intervals.mcnemar(a, b))


@dataclass(frozen=True)
class FailureRate(Rate):
    """A rate over all records, also those that failed."""


@dataclass(frozen=True)
class MeanOfRates:
    """Unweighted mean of the rates of several groups of records: MOVER; paired: BCa, group by group."""

    name: str
    higher_is_better: bool
    protocol: str
    value: ValueOf
    group: Callable[[Record], str]
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The mean of the groups' rates and its interval by MOVER."""
        groups: dict[str, list[bool]] = {}
        for r in records:
            groups.setdefault(self.group(r), []).append(bool(self.value(r)))
        value, interval = intervals.mean_of_rates(
            [sum(g) for g in groups.values()], [len(g) for g in groups.values()]
        )
        return as_summary(value, interval, len(records))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the means of rates with a BCa interval, and McNemar's p-value over all records."""
        names = [self.group(r) for r in baseline]
        # A row counts by the inverse of its group's size, so that the plain mean is the mean of the rates.
        weight = np.array([len(names) / (len(set(names)) * names.count(name)) for name in names])
        a, b = (np.array([bool(self.value(r)) for r in rows]) for rows in (baseline, candidate))
        return as_difference(*intervals.paired_difference(weight * a, weight * b), intervals.mcnemar(a, b))
