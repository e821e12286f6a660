"""Intervals and paired tests, from scipy alone. Every interval is two-sided 95%."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
RESAMPLES = 4000
Z = float(stats.norm.ppf(0.5 + LEVEL / 2))

Interval = tuple[float, float]


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a rate (Wilson, 1927)."""
    interval = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def poisson(count: int) -> Interval:
    """The exact interval of a Poisson count (Garwood, 1936)."""
    tail = (1 - LEVEL) / 2
    low = stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return float(low), float(stats.chi2.ppf(1 - tail, 2 * count + 2) / 2)


def mean_of_rates(successes: Sequence[int], n: Sequence[int]) -> tuple[float, Interval]:
    """The unweighted mean of independent rates, intervals combined by MOVER (Zou and Donner, 2008).

    Unlike a bootstrap it stays wide when every rate is 0 or 1.
    """
    rates = np.asarray(successes) / np.asarray(n)
    low, high = np.array([wilson(k, m) for k, m in zip(successes, n, strict=True)]).T
    value = float(rates.mean())
    below, above = np.linalg.norm(rates - low), np.linalg.norm(high - rates)
    return value, (value - float(below) / len(rates), value + float(above) / len(rates))


def bootstrap_mean(values: ArrayLike, seed: int = 0) -> Interval:
    """BCa bootstrap interval of a mean (Efron, 1987)."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2 or np.ptp(x) <= 1e-9 * np.abs(x).max():  # nothing to resample but rounding
        return float(x.mean()), float(x.mean())
    result = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def paired_difference(baseline: ArrayLike, candidate: ArrayLike, seed: int = 0) -> tuple[float, Interval]:
    """Mean of candidate minus baseline over the same rows, with a paired BCa bootstrap interval."""
    delta = np.asarray(candidate, dtype=float) - np.asarray(baseline, dtype=float)
    return float(delta.mean()), bootstrap_mean(delta, seed)


def mcnemar(baseline: ArrayLike, candidate: ArrayLike) -> float:
    """Exact two-sided p-value that two models flag the same rows equally often (McNemar, 1947)."""
    a, b = np.asarray(baseline, dtype=bool), np.asarray(candidate, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def jackknife(statistic: Callable[[np.ndarray], float], n: int, groups: int = 20) -> float:
    """Grouped jackknife standard error (Quenouille, 1956).

    Args:
        statistic: its value on the rows at the given indices.
        n: number of rows.
        groups: blocks left out one at a time, at most n.
    """
    groups = min(groups, n)
    block = np.arange(n) % groups
    left_out = np.array([statistic(np.flatnonzero(block != g)) for g in range(groups)])
    return float(np.sqrt((groups - 1) / groups * np.square(left_out - left_out.mean()).sum()))


def over_seeds(values: Sequence[float]) -> tuple[float, Interval | None]:
    """Mean of a few runs and Student's t interval over them; a single run has none."""
    x = np.asarray(values, dtype=float)
    mean = float(x.mean())
    if len(x) < 2:
        return mean, None
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return mean, (mean - half, mean + half)
