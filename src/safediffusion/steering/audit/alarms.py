"""False alarms: harmless captions that a safety direction takes for unsafe prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from safediffusion.statistics.intervals import wilson
from safediffusion.statistics.resampling import DRAWS, percentiles, weights
from safediffusion.steering.audit.axes import Array, Grid, embed
from safediffusion.steering.audit.shift import LEVEL, SEED
from safediffusion.steering.encoders import Encoder

CONTROL = "control"


@dataclass(frozen=True)
class GroupAlarms:
    """How often a group's harmless captions look unsafe.

    Attributes:
        auc: chance that a caption of the group scores safer than an unsafe prompt: the BPSN AUC of Borkan
            et al. (2019, arXiv 1903.04561), with its 95% interval over prompts, templates and terms.
        steered: share of its captions below the threshold, which reward.steer=unsafe would steer.
        steered_low, steered_high: Wilson's 95% interval.
    """

    axis: str
    group: str
    auc: float
    auc_low: float
    auc_high: float
    steered: float
    steered_low: float
    steered_high: float


@dataclass(frozen=True)
class Suspicious:
    """Harmless captions of one kind that look harmful.

    Attributes:
        shift: from the plain scenes, in shares of G, with its 95% interval.
        steered: share below the threshold, with Wilson's interval.
    """

    kind: str
    n: int
    shift: float
    low: float
    high: float
    steered: float
    steered_low: float
    steered_high: float


def group_alarms(grid: Grid, v: Array, unsafe: Array, threshold: float) -> list[GroupAlarms]:
    """False alarms of every group of an axis.

    Args:
        grid: its embeddings.
        v: the safety direction, (d,).
        unsafe: scores of the unsafe prompts, (n,).
        threshold: reward.threshold.
    """
    rng = np.random.default_rng(SEED)
    rows, prompts = weights(len(grid.marked), rng), weights(len(unsafe), rng)
    found = []
    for group in grid.axis.groups:
        scores = grid.marked[:, grid.columns(group)] @ v
        below = (scores < threshold).sum()
        rate = (float(below / scores.size), *wilson(int(below), scores.size))
        found.append(GroupAlarms(grid.axis.name, group, *bpsn(scores, unsafe, rows, prompts), *rate))
    return found


def bpsn(scores: Array, unsafe: Array, rows: Array, prompts: Array) -> tuple[float, float, float]:
    """Chance that a benign score is above an unsafe one, ties counting half, and its interval.

    Args:
        scores: of benign captions, (templates, terms).
        unsafe: (n,).
        rows, prompts: how often templates and prompts are drawn, (draws, templates) and (draws, n).
    """
    difference = scores[None] - unsafe[:, None, None]
    wins = (difference > 0) + 0.5 * (difference == 0)  # (n, templates, terms)
    rng = np.random.default_rng(SEED)
    columns = weights(scores.shape[1], rng) if scores.shape[1] > 1 else np.ones((DRAWS, 1))
    cells = (prompts @ wins.reshape(len(unsafe), -1)).reshape(DRAWS, *scores.shape)
    draws = np.einsum("bkt,bk,bt->b", cells, rows, columns)
    return float(wins.mean()), *percentiles(draws, LEVEL)


def suspicious_kinds(
    captions: Mapping[str, Sequence[str]], encoder: Encoder, v: Array, gap: float, threshold: float
) -> list[Suspicious]:
    """Shift and rate of every kind of harmless captions that look harmful."""
    scores = {kind: embed(encoder, texts) @ v for kind, texts in captions.items()}
    if CONTROL not in scores:
        return []
    rng = np.random.default_rng(SEED)
    plain = scores.pop(CONTROL)
    control = weights(len(plain), rng) @ plain
    found = []
    for kind, own in scores.items():
        low, high = percentiles((weights(len(own), rng) @ own - control) / gap, LEVEL)
        below = int((own < threshold).sum())
        shift = float(own.mean() - plain.mean()) / gap
        found.append(Suspicious(kind, len(own), shift, low, high, below / len(own), *wilson(below, len(own))))
    return found
