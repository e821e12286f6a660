"""The anchors to blame: what each one adds to the worst shift, and a list without those that can go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.audit.axes import Array, Grid
from safediffusion.steering.audit.shift import reference
from safediffusion.steering.check import auc
from safediffusion.steering.direction import safety_direction
from safediffusion.steering.encoders import Encoder

AUC_LOSS = 0.005  # that a repair may cost
LEAST_GAIN = 0.001  # of G, root mean square over groups: a smaller one is not worth an anchor
KEPT = 0.5  # share of a side's anchors that stay

SIDES = ("safe", "unsafe")

Phrase = tuple[str, str]  # side and text


@dataclass(frozen=True)
class Blame:
    """One anchor left out.

    Attributes:
        shift: of the group that is worst with all anchors, without this one; in shares of G.
        worst: the largest shift of any group, without this one, as an absolute value.
        auc: between benign and unsafe prompts, without this one.
    """

    phrase: str
    side: str
    shift: float
    worst: float
    auc: float


@dataclass(frozen=True)
class Repair:
    """A list of anchors with a smaller worst shift.

    Attributes:
        removed: the anchors that are not in it.
        worst_before, worst_after: the largest shift of any group, as an absolute value, in shares of G.
        auc_before, auc_after: between benign and unsafe prompts.
    """

    safe: tuple[str, ...]
    unsafe: tuple[str, ...]
    removed: tuple[str, ...]
    worst_before: float
    worst_after: float
    auc_before: float
    auc_after: float


class Anchors:
    """A policy's shifts and AUC as functions of the anchors that are in it.

    A shift is linear in the direction, so a mean embedding per group says all of it.

    Args:
        policy: the anchors.
        encoder: whose space it is.
        grids: the audited axes.
        benign, unsafe: embeddings of prompts for the AUC, (n, d).
        named: embeddings of the unsafe prompts that name their harm, for G, (n, d).
    """

    def __init__(
        self,
        policy: SafetyPolicy,
        encoder: Encoder,
        grids: Sequence[Grid],
        benign: Array,
        unsafe: Array,
        named: Array,
    ) -> None:
        self.phrases: list[Phrase] = [("safe", text) for text in policy.safe]
        self.phrases += [("unsafe", text) for text in policy.unsafe]
        rows = encoder.text([text for _, text in self.phrases]).cpu().double()
        self._rows, self._none = dict(zip(self.phrases, rows, strict=True)), rows[:0]
        self._groups = np.stack(
            [
                (grid.marked[:, grid.columns(group)].mean(1) - reference(grid)).mean(0)
                for grid in grids
                for group in grid.axis.groups
            ]
        )
        self._benign, self._unsafe = benign, unsafe
        self._way = benign.mean(0) - named.mean(0)

    def direction(self, phrases: Sequence[Phrase]) -> Array:
        """The safety direction that these anchors span, (d,)."""
        sides = ([self._rows[phrase] for phrase in phrases if phrase[0] == side] for side in SIDES)
        safe, unsafe = (torch.stack(rows) if rows else self._none for rows in sides)
        return safety_direction(safe, unsafe).numpy()

    def shifts(self, phrases: Sequence[Phrase]) -> Array:
        """The shift of every group in shares of G, (groups,); infinite where G is not positive."""
        v = self.direction(phrases)
        gap = self._way @ v
        return self._groups @ v / gap if gap > 0 else np.full(len(self._groups), np.inf)

    def auc(self, phrases: Sequence[Phrase]) -> float:
        """How well these anchors separate the prompts."""
        v = self.direction(phrases)
        return auc(self._benign @ v, self._unsafe @ v)


def blame(anchors: Anchors) -> list[Blame]:
    """Leave one anchor out at a time; the one that helps the worst group most comes first.

    The only anchor of a side stays.
    """
    found = []
    group = int(np.abs(anchors.shifts(anchors.phrases)).argmax())
    for one in anchors.phrases:
        rest = without(anchors.phrases, one)
        if not count(rest, one[0]):
            continue
        shifts = anchors.shifts(rest)
        worst = float(np.abs(shifts).max())
        found.append(Blame(one[1], one[0], float(shifts[group]), worst, anchors.auc(rest)))
    return sorted(found, key=lambda one: abs(one.shift))


def repair(anchors: Anchors) -> Repair | None:
    """Leave anchors out, each time the one whose absence lowers the shifts most, while the AUC stays.

    The shifts are lowered in the root mean square over groups, because the largest one alone gets stuck where
    two groups are equally bad. At most half of a side's anchors go. None where no list has a smaller worst
    shift.
    """
    kept = list(anchors.phrases)
    before, whole = anchors.shifts(kept), anchors.auc(kept)
    while one := next_removed(anchors, kept, whole - AUC_LOSS):
        kept = without(kept, one)
    after = anchors.shifts(kept)
    worst, left = (float(np.abs(shifts).max()) for shifts in (before, after))
    if left >= worst:
        return None
    safe, unsafe = (tuple(text for side, text in kept if side == wanted) for wanted in SIDES)
    removed = tuple(text for side, text in anchors.phrases if (side, text) not in kept)
    return Repair(safe, unsafe, removed, worst, left, whole, anchors.auc(kept))


def next_removed(anchors: Anchors, kept: Sequence[Phrase], least_auc: float) -> Phrase | None:
    """The anchor whose absence lowers the shifts most and keeps the AUC; None where none is worth it."""
    present = root_mean_square(anchors.shifts(kept))
    ranked = sorted(
        (root_mean_square(anchors.shifts(without(kept, one))), one)
        for one in kept
        if count(kept, one[0]) > 1 and count(kept, one[0]) - 1 >= KEPT * count(anchors.phrases, one[0])
    )
    worth = (one for after, one in ranked if after <= present - LEAST_GAIN)
    return next((one for one in worth if anchors.auc(without(kept, one)) >= least_auc), None)


def root_mean_square(shifts: Array) -> float:
    """Of all groups."""
    return float(np.sqrt(np.square(shifts).mean()))


def count(phrases: Sequence[Phrase], side: str) -> int:
    """How many anchors are of one side."""
    return sum(own == side for own, _ in phrases)


def without(phrases: Sequence[Phrase], one: Phrase) -> list[Phrase]:
    """The anchors but one."""
    return [phrase for phrase in phrases if phrase != one]
