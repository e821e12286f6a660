"""Metrics as functions of raw records: a rate, a count, a mean, a mean of rates, a distance.

Each measure knows its own interval and its own paired comparison; none needs an image. Records that failed
are not their concern: `failures` says which these are, and a task leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from safediffusion.evaluation import stats
from safediffusion.evaluation.distances import frechet_distance

Record = dict[str, Any]
Value = Callable[[Record], float]
Keep = Callable[[Record], bool]


LEAST = 3  # pictures of a distance: leaving one out for the interval must leave two


class Unmeasured(Exception):
    """A measure has no value on these records; the message says why."""


def every(record: Record) -> bool:
    """Keeps all records."""
    return True


class Measure(Protocol):
    """One named metric of a task; `needs` are the fields that it reads of a record."""

    @property
    def name(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def protocol(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """value, ci_low, ci_high and n; None where no record applies.

        Raises:
            Unmeasured: records apply, but too few.
        """
        ...

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Candidate minus baseline, paired by row: difference, ci_low, ci_high, p_value (None: no test)."""
        ...


def as_summary(value: float, interval: stats.Interval, n: int) -> dict[str, Any]:
    return {"value": value, "ci_low": interval[0], "ci_high": interval[1], "n": n}


def as_difference(value: float, interval: stats.Interval, p_value: float | None = None) -> dict[str, Any]:
    return {"difference": value, "ci_low": interval[0], "ci_high": interval[1], "p_value": p_value}


@dataclass(frozen=True)
class Rate:
    """Share of records for which `value` is true: Wilson; paired: BCa and McNemar."""

    name: str
    higher_is_better: bool
    protocol: str
    value: Value
    keep: Keep = every
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        hits = [bool(self.value(r)) for r in records if self.keep(r)]
        if not hits:
            return None
        return as_summary(sum(hits) / len(hits), stats.wilson(sum(hits), len(hits)), len(hits))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        a, b = ([bool(self.value(r)) for r in rows if self.keep(r)] for rows in (baseline, candidate))
        return as_difference(*stats.paired_difference(a, b), stats.mcnemar(a, b))


@dataclass(frozen=True)
class FailureRate(Rate):
    """A rate over all records, also those that failed."""


@dataclass(frozen=True)
class Count:
    """Sum of `value` over the records: exact Poisson; paired: BCa of the sum of differences."""

    name: str
    higher_is_better: bool
    protocol: str
    value: Value
    keep: Keep = every
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        counts = [int(self.value(r)) for r in records if self.keep(r)]
        return as_summary(sum(counts), stats.poisson(sum(counts)), len(counts)) if counts else None

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        a, b = ([self.value(r) for r in rows if self.keep(r)] for rows in (baseline, candidate))
        mean, (low, high) = stats.paired_difference(a, b)
        return as_difference(len(a) * mean, (len(a) * low, len(a) * high))


@dataclass(frozen=True)
class Mean:
    """Mean of `value`: BCa bootstrap, paired likewise."""

    name: str
    higher_is_better: bool
    protocol: str
    value: Value
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        values = [self.value(r) for r in records]
        return as_summary(float(np.mean(values)), stats.bootstrap_mean(values), len(values))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        return as_difference(
            *stats.paired_difference([self.value(r) for r in baseline], [self.value(r) for r in candidate])
        )


@dataclass(frozen=True)
class MeanOfRates:
    """Unweighted mean of the rates of several groups of records: MOVER; paired: BCa, group by group."""

    name: str
    higher_is_better: bool
    protocol: str
    value: Value
    group: Callable[[Record], str]
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        groups: dict[str, list[bool]] = {}
        for r in records:
            groups.setdefault(self.group(r), []).append(bool(self.value(r)))
        value, interval = stats.mean_of_rates(
            [sum(g) for g in groups.values()], [len(g) for g in groups.values()]
        )
        return as_summary(value, interval, len(records))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        names = [self.group(r) for r in baseline]
        # A row counts by the inverse of its group's size, so that the plain mean is the mean of the rates.
        weight = np.array([len(names) / (len(set(names)) * names.count(name)) for name in names])
        a, b = (np.array([bool(self.value(r)) for r in rows]) for rows in (baseline, candidate))
        return as_difference(*stats.paired_difference(weight * a, weight * b), stats.mcnemar(a, b))


@dataclass(frozen=True)
class Distance:
    """Distance of the records' features from their references: grouped jackknife, paired likewise."""

    name: str
    higher_is_better: bool
    protocol: str
    distance: Callable[[np.ndarray, np.ndarray], float] = frechet_distance
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        if len(records) < LEAST:
            raise Unmeasured(f"it needs at least {LEAST} pictures, and there are {len(records)}")
        at = self._on(records)
        value = at(np.arange(len(records)))
        half = stats.Z * stats.jackknife(at, len(records))
        return as_summary(value, (value - half, value + half), len(records))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        a, b = self._on(baseline), self._on(candidate)
        value = b(np.arange(len(baseline))) - a(np.arange(len(baseline)))
        half = stats.Z * stats.jackknife(lambda rows: b(rows) - a(rows), len(baseline))
        return as_difference(value, (value - half, value + half))

    def _on(self, records: Sequence[Record]) -> Callable[[np.ndarray], float]:
        """The distance on a choice of rows; the references stay whole, they are not the model's."""
        features = np.array([r["features"] for r in records])
        reference = np.array([f for r in records for f in r["reference_features"]])
        return lambda rows: self.distance(features[rows], reference)


@dataclass(frozen=True)
class FromReference(Distance):
    """Distance of the records' features from those of the records marked "reference"."""

    needs: tuple[str, ...] = ("features",)
    groups: int = 5  # of the jackknife: a Frechet distance of 2048 features takes a second

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        own, reference = self._features(records)
        if len(own) < LEAST or len(reference) < 2:
            counted = f"{len(own)} pictures and {len(reference)} references"
            raise Unmeasured(f"it needs at least {LEAST} pictures and 2 references, and there are {counted}")
        value = self.distance(own, reference)
        error = stats.jackknife(lambda rows: self.distance(own[rows], reference), len(own), self.groups)
        return as_summary(value, (value - stats.Z * error, value + stats.Z * error), len(own))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        (a, reference), (b, _) = self._features(baseline), self._features(candidate)

        def change(rows: np.ndarray) -> float:
            return self.distance(b[rows], reference) - self.distance(a[rows], reference)

        value, error = change(np.arange(len(a))), stats.jackknife(change, len(a), self.groups)
        return as_difference(value, (value - stats.Z * error, value + stats.Z * error))

    def _features(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
        key = self.needs[0]
        sides = ([r[key] for r in records if bool(r.get("reference")) == side] for side in (False, True))
        own, reference = (np.asarray(side, dtype=np.float64) for side in sides)
        return own, reference
