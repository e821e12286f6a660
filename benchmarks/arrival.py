"""When a run became safe at unchanged quality, and how many times sooner than another. Pure functions.

Costs are seconds or image-passes. A run is evaluated at a few budgets only. Its arrival is the first budget
at which the condition holds. A run that never meets the condition is censored: its last budget is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from safediffusion.statistics.intervals import LEVEL, RESAMPLES, over_seeds

Kind = Literal["exact", "at least", "at most", "unknown"]
Values = Mapping[str, float]

PHASES = {"sample": "sampling", "decode": "decoding", "score": "reward", "update": "update"}
REST = "everything else"
ENUMERATED = 5  # seeds whose n^n resamples are all taken: 3,125


@dataclass(frozen=True)
class Point:
    """One evaluation of a run: the cost up to it, and the TASK/METRIC values."""

    seconds: float
    passes: float
    values: Values


@dataclass(frozen=True)
class Condition:
    """Safe at unchanged quality.

    Attributes:
        unsafe: metric that must fall.
        limit: to this or below.
        floors: metric and the least value it may have, the low end of the base's interval.
    """

    unsafe: str
    limit: float
    floors: Values

    def holds(self, values: Values) -> bool:
        """Whether it holds for a model's values."""
        return values[self.unsafe] <= self.limit and self.keeps_quality(values)

    def keeps_quality(self, values: Values) -> bool:
        """Whether no floor is broken, whatever the safety."""
        return all(values[name] >= floor for name, floor in self.floors.items())


@dataclass(frozen=True)
class Arrival:
    """The cost at which a run met a condition.

    Attributes:
        reached: whether it did.
        cost: of the first budget at which it did; of the last budget if it never did, a lower bound.
        before: of the budget before that one; the true cost lies between the two.
    """

    reached: bool
    cost: float
    before: float

    def show(self, digits: int = 0) -> str:
        """For example 214 or > 3600."""
        return f"{'' if self.reached else '> '}{self.cost:,.{digits}f}"

    def tell(self) -> str:
        """Of a cost in seconds, for example "arrived after 214 s" or "not arrived in 4.0 h"."""
        if self.reached:
            return f"arrived after {self.cost:,.0f} s"
        hours = self.cost / 3600
        return f"not arrived in {f'{hours:.1f} h' if hours >= 1 else f'{self.cost:,.0f} s'}"


def arrival(points: Sequence[Point], condition: Condition, cost: Literal["seconds", "passes"]) -> Arrival:
    """The first budget at which the condition holds; points are in order, the base model's first.

    Raises:
        ValueError: the base model meets the condition, or nothing was measured after it.
    """
    if len(points) < 2 or condition.holds(points[0].values):
        raise ValueError("nothing to time: no budget was measured, or the base model meets the condition")
    costs = [getattr(point, cost) for point in points]
    for i, point in enumerate(points):
        if condition.holds(point.values):
            return Arrival(True, costs[i], costs[i - 1])
    return Arrival(False, costs[-1], costs[-2])


@dataclass(frozen=True)
class Ratio:
    """How many times sooner a recipe arrives than the baseline, or a bound on that.

    Attributes:
        value: baseline / recipe; over seeds their geometric mean. None where neither bound is known.
        kind: what the value is.
        ci_low, ci_high: 95% interval over seeds; None where unknown or, for a bound, where it is open.
    """

    value: float | None
    kind: Kind
    ci_low: float | None = None
    ci_high: float | None = None

    def show(self) -> str:
        """For example 12.1 [9.8, 14.0], or >= 12.1 [9.8, ...]."""
        if self.value is None:
            return "unknown: neither arrived in every pair"
        text = {"exact": "", "at least": ">= ", "at most": "<= "}[self.kind] + f"{self.value:.1f}"
        if self.ci_low is None and self.ci_high is None:
            return text
        low, high = ("..." if end is None else f"{end:.1f}" for end in (self.ci_low, self.ci_high))
        return f"{text} [{low}, {high}]"


def paired_ratio(baseline: Arrival, recipe: Arrival) -> Ratio:
    """The ratio of one seed: a bound if one side did not arrive, unknown if neither did."""
    kinds: dict[tuple[bool, bool], Kind] = {
        (True, True): "exact",
        (False, True): "at least",
        (True, False): "at most",
        (False, False): "unknown",
    }
    kind = kinds[baseline.reached, recipe.reached]
    return Ratio(None if kind == "unknown" else baseline.cost / recipe.cost, kind)


def ratio_over_seeds(baseline: Sequence[Arrival], recipe: Sequence[Arrival], seed: int = 0) -> Ratio:
    """Geometric mean of the paired ratios with a percentile bootstrap over seeds.

    A bound in any seed makes the mean that bound; bounds of both kinds, or an unknown, make it unknown. Three
    seeds resample to no more than their own range: the interval is then that range.
    """
    each = [paired_ratio(a, b) for a, b in zip(baseline, recipe, strict=True)]
    kinds: set[Kind] = {ratio.kind for ratio in each if ratio.kind != "exact"}
    if "unknown" in kinds or len(kinds) > 1:
        return Ratio(None, "unknown")
    kind: Kind = kinds.pop() if kinds else "exact"
    logs = np.log([ratio.value for ratio in each if ratio.value is not None])
    value = math.exp(logs.mean())
    if len(logs) < 2:
        return Ratio(value, kind)
    low, high = np.exp(bootstrap(logs, seed))
    return Ratio(
        value, kind, None if kind == "at most" else float(low), None if kind == "at least" else float(high)
    )


def bootstrap(x: np.ndarray, seed: int) -> np.ndarray:
    """Percentile interval of a mean, (2,); every resample of a few values, random ones of many."""
    n = len(x)
    if n <= ENUMERATED:
        rows = np.array(list(product(range(n), repeat=n)))
    else:
        rows = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    tail = (1 - LEVEL) / 2
    return np.quantile(x[rows].mean(1), (tail, 1 - tail), method="inverted_cdf")


def profile(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of each phase in the seconds of a run's rounds, from lines of metrics.jsonl; they add up to 1."""
    sums = dict.fromkeys((*PHASES.values(), REST), 0.0)
    for row in rows:
        for phase, seconds in row["seconds"].items():
            sums[PHASES.get(phase, REST)] += seconds
    total = sum(sums.values())
    return {name: value / total for name, value in sums.items()}


def band(runs: Sequence[Sequence[Point]], metric: str) -> list[tuple[float, float, float, float]]:
    """Mean curve over seeds: (mean seconds, mean, low, high) for each budget that every run reached.

    low and high are Student's 95% interval; of a single run they are its value.
    """
    rows = []
    for points in zip(*runs, strict=False):
        mean, interval = over_seeds([point.values[metric] for point in points])
        rows.append((float(np.mean([point.seconds for point in points])), mean, *(interval or (mean, mean))))
    return rows
