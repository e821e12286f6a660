"""Whether naming a group moves a caption towards unsafe: the shift, and how groups differ from each other.

A caption's score is e.v. A shift is a difference of scores divided by G, the distance of benign from unsafe
prompts, so it is the share of that way; negative is towards unsafe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safediffusion.statistics.resampling import (
    between,
    holm,
    means,
    percentiles,
    permutation_p,
    weights,
)
from safediffusion.steering.audit.axes import Array, Grid

SEED = 0
LEVEL = 0.95
NAMED = 0.05  # of G: a smaller shift is not named, however certain it is


@dataclass(frozen=True)
class GroupShift:
    """The shift of one group; all in shares of G.

    Attributes:
        terms: of the group; with a single one only templates are resampled.
        unmarked: from the captions that name no group.
        shift: from the axis' reference, the nonce terms or the mean of its groups.
        low, high: interval of `shift`; it holds for all groups of an audit together.
        from_mean: from the mean of the axis' groups.
        nonce_sds: `shift` in standard deviations of the nonce terms; None without any.
    """

    axis: str
    group: str
    terms: tuple[str, ...]
    unmarked: float
    shift: float
    low: float
    high: float
    from_mean: float
    nonce_sds: float | None

    @property
    def named(self) -> bool:
        """Whether the interval excludes 0 and the shift is at least 5% of G."""
        return not self.low <= 0 <= self.high and abs(self.shift) >= NAMED


@dataclass(frozen=True)
class AxisRange:
    """How far the groups of one axis lie apart.

    Attributes:
        lowest, highest: the groups with the least and the greatest mean score.
        difference: between these two, in shares of G, with its 95% interval.
        effect: between their captions' scores in standard deviations of both, the effect size d of
            embedding association tests (Caliskan et al., 2017).
        p_value: of the permutation test, and adjusted for the number of axes by Holm's method.
        nonce: mean shift of the nonce terms from the unmarked captions; None without any.
    """

    axis: str
    lowest: str
    highest: str
    difference: float
    low: float
    high: float
    effect: float
    p_value: float
    p_adjusted: float
    nonce: float | None


def reference(grid: Grid) -> Array:
    """What a marked caption is compared with: a mean embedding per template, (templates, d)."""
    if grid.axis.reference == "nonce":
        return grid.nonce.mean(1)
    return mean_of_groups(grid)


def mean_of_groups(grid: Grid) -> Array:
    """The mean over an axis' groups, every group counting alike, (templates, d)."""
    groups = [grid.marked[:, grid.columns(group)].mean(1) for group in grid.axis.groups]
    return np.mean(groups, axis=0)


def group_shifts(grid: Grid, v: Array, gap: float, count: int) -> list[GroupShift]:
    """The shift of every group of an axis.

    Args:
        grid: its embeddings.
        v: the safety direction, (d,).
        gap: G.
        count: groups of the whole audit, for which the intervals hold together (Bonferroni).
    """
    rng = np.random.default_rng(SEED)
    scores = (grid.marked - grid.unmarked[:, None]) @ v / gap
    nonce = (grid.nonce - grid.unmarked[:, None]) @ v / gap
    against = (reference(grid) - grid.unmarked) @ v / gap
    rows = weights(len(scores), rng)
    by_nonce = grid.axis.reference == "nonce"
    control = means(nonce, rows, weights(nonce.shape[1], rng)) if by_nonce else rows @ against
    spread = nonce.mean(0).std(ddof=1) if nonce.shape[1] > 1 else None
    center = ((mean_of_groups(grid) - grid.unmarked) @ v).mean() / gap
    found = []
    for group, terms in grid.axis.groups.items():
        values = scores[:, grid.columns(group)]
        columns = weights(len(terms), rng) if len(terms) > 1 else None
        low, high = percentiles(means(values, rows, columns) - control, 1 - (1 - LEVEL) / count)
        shift = float(values.mean() - against.mean())
        sds = shift / float(spread) if spread else None
        own = float(values.mean())
        found.append(
            GroupShift(grid.axis.name, group, tuple(terms), own, shift, low, high, own - float(center), sds)
        )
    return found


def axis_ranges(grids: Sequence[Grid], v: Array, gap: float) -> list[AxisRange]:
    """The range of every axis with its permutation test, adjusted over the axes."""
    tested = [permutation_p(grid.marked @ v, grid.owner, np.random.default_rng(SEED)) for grid in grids]
    return [
        axis_range(grid, v, gap, p, adjusted)
        for grid, p, adjusted in zip(grids, tested, holm(tested), strict=True)
    ]


def axis_range(grid: Grid, v: Array, gap: float, p_value: float, p_adjusted: float) -> AxisRange:
    """The range of one axis, whose test is made."""
    rng = np.random.default_rng(SEED)
    scores = grid.marked @ v / gap
    names = list(grid.axis.groups)
    parts = [scores[:, grid.columns(name)] for name in names]
    order = np.argsort([part.mean() for part in parts])
    rows = weights(len(scores), rng)
    draws = [means(part, rows, weights(part.shape[1], rng) if part.shape[1] > 1 else None) for part in parts]
    low, high = percentiles(np.ptp(draws, axis=0), LEVEL)
    least, most = parts[order[0]].ravel(), parts[order[-1]].ravel()
    both = np.concatenate([least, most]).std(ddof=1)
    effect = float((most.mean() - least.mean()) / both) if both > 0 else 0.0
    nonce = ((grid.nonce.mean(1) - grid.unmarked) @ v).mean() / gap if grid.nonce.size else None
    return AxisRange(
        axis=grid.axis.name,
        lowest=names[order[0]],
        highest=names[order[-1]],
        difference=between(scores, grid.owner),
        low=low,
        high=high,
        effect=effect,
        p_value=p_value,
        p_adjusted=p_adjusted,
        nonce=None if nonce is None else float(nonce),
    )
