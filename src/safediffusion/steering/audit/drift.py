"""Whether the steered target of a caption prefers another group than the caption names.

With captions t and t' of two groups, the steered target n(e(p) + alpha v) of p = t prefers t' iff

    e(p).(e(t) - e(t')) + alpha v.(e(t) - e(t')) < 0.

The first term is content, the second bias. Steering by "project" first removes z's component along v, which
is the same with alpha - e(p).v instead of alpha.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safediffusion.config.setting_types import SteeringMode
from safediffusion.statistics.resampling import Interval, means, percentiles, weights
from safediffusion.steering.audit.axes import Array, Grid
from safediffusion.steering.audit.shift import LEVEL, SEED

Numbers = NDArray[np.int64]

FLIPPED = 0.05  # share of an axis' captions at its critical alpha


@dataclass(frozen=True)
class GroupDrift:
    """How many captions of a group keep it.

    Attributes:
        unsteered, steered: share of its captions whose target prefers the group, at alpha 0 and at alpha.
        low, high: 95% interval of the difference.
    """

    axis: str
    group: str
    unsteered: float
    steered: float
    low: float
    high: float


@dataclass(frozen=True)
class AxisDrift:
    """Where the captions of an axis go.

    Attributes:
        critical: the least alpha at which 5% of its captions prefer another group; None: at no alpha.
        lost, gained: the pair of groups between which most captions move at alpha; None where none does.
        moved: how many they are.
    """

    axis: str
    critical: float | None
    lost: str | None
    gained: str | None
    moved: int


def preferred(grid: Grid, v: Array, alpha: float, mode: SteeringMode = "translate") -> Numbers:
    """The number of the group that each caption's steered target prefers, (templates, terms).

    Of equally near captions the target's own is preferred, then the first.
    """
    content, scores = terms_of(grid, v)
    total = content + (alpha - removed(scores, mode))[:, :, None] * scores[:, None, :]
    own = np.diagonal(total, axis1=1, axis2=2)
    best = total.argmax(2)
    here = np.arange(total.shape[1])
    kept = own >= np.take_along_axis(total, best[..., None], 2)[..., 0]
    return grid.owner[np.where(kept, here, best)]


def terms_of(grid: Grid, v: Array) -> tuple[Array, Array]:
    """Content e(p).e(t') as (templates, terms p, terms t'), and scores e(t').v as (templates, terms)."""
    return grid.marked @ grid.marked.transpose(0, 2, 1), grid.marked @ v


def removed(scores: Array, mode: SteeringMode) -> Array:
    """How much of a caption's component along v steering takes away first, (templates, terms)."""
    return scores if mode == "project" else np.zeros_like(scores)


def drift(
    grid: Grid, v: Array, alpha: float, mode: SteeringMode = "translate"
) -> tuple[list[GroupDrift], AxisDrift]:
    """Retention by group at alpha 0 and at alpha, and the axis' critical alpha."""
    rng, owner = np.random.default_rng(SEED), grid.owner
    before, after = preferred(grid, v, 0.0), preferred(grid, v, alpha, mode)
    rows, groups = weights(len(before), rng), []
    for i, group in enumerate(grid.axis.groups):
        columns = grid.columns(group)
        kept = [(side[:, columns] == i).astype(float) for side in (before, after)]
        low, high = interval(kept[1] - kept[0], rows, rng)
        unsteered, steered = (float(side.mean()) for side in kept)
        groups.append(GroupDrift(grid.axis.name, group, unsteered, steered, low, high))
    names = list(grid.axis.groups)
    ends = zip(np.tile(owner, len(after)).tolist(), after.ravel().tolist(), strict=True)
    moves = Counter((names[a], names[b]) for a, b in ends if a != b)
    (lost, gained), moved = moves.most_common(1)[0] if moves else ((None, None), 0)
    return groups, AxisDrift(grid.axis.name, critical_alpha(grid, v, mode), lost, gained, moved)


def interval(values: Array, rows: Array, rng: np.random.Generator) -> Interval:
    """The 95% pigeonhole interval of the mean of values (templates, terms)."""
    columns = weights(values.shape[1], rng) if values.shape[1] > 1 else None
    return percentiles(means(values, rows, columns), LEVEL)


def critical_alpha(grid: Grid, v: Array, mode: SteeringMode = "translate") -> float | None:
    """The least alpha at which 5% of the captions have flipped once; None if they never do."""
    flips = np.sort(first_flips(grid, v, mode).ravel())
    found = float(flips[int(np.ceil(FLIPPED * len(flips))) - 1])
    return found if np.isfinite(found) else None


def first_flips(grid: Grid, v: Array, mode: SteeringMode = "translate") -> Array:
    """The least alpha at which each caption's target prefers another group, or inf, (templates, terms).

    A caption t' of another group wins where it is above every caption u of the own group, and each of these
    is a condition on alpha that is linear: content(t') - content(u) + alpha (score(t') - score(u)) > 0. For
    groups of one term this is alpha = e(p).(e(t) - e(t')) / v.(e(t') - e(t)), the least over t'.
    """
    content, scores = terms_of(grid, v)
    owner = grid.owner
    flips, least = np.full(scores.shape, np.inf), -removed(scores, mode)
    for p in range(len(owner)):
        own, other = owner == owner[p], owner != owner[p]
        lead = content[:, p, own][:, None, :] - content[:, p, other][:, :, None]  # (templates, t', u)
        gain = scores[:, other][:, :, None] - scores[:, own][:, None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = lead / gain
        above = np.where(gain > 0, ratio, np.where((gain == 0) & (lead >= 0), np.inf, -np.inf)).max(2)
        below = np.where(gain < 0, ratio, np.inf).min(2)
        start = np.maximum(above, least[:, p, None])
        flips[:, p] = np.where(start < below, start, np.inf).min(1)
    return flips - least
