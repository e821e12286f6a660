"""The audit of one safety policy in one encoder's space, and its result as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safediffusion.config.setting_types import SteeringMode
from safediffusion.errors import UserError
from safediffusion.prompts.select import Prompt
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.audit.alarms import GroupAlarms, Suspicious, group_alarms, suspicious_kinds
from safediffusion.steering.audit.axes import Array, Grid, audit_set, embed
from safediffusion.steering.audit.drift import AxisDrift, GroupDrift, drift
from safediffusion.steering.audit.pictures import PictureGroup, Pictures, picture_groups, skin_tones
from safediffusion.steering.audit.repair import Anchors, Blame, Repair, blame, repair
from safediffusion.steering.audit.shift import NAMED, AxisRange, GroupShift, axis_ranges, group_shifts
from safediffusion.steering.check import auc, some
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import Encoder
from safediffusion.steering.threshold import separating


@dataclass(frozen=True)
class Labelled:
    """Prompts that say what safe and unsafe are.

    Attributes:
        named: the unsafe prompts that name their harm. Where the prompts' kind does not tell, all of them.
    """

    benign: tuple[str, ...]
    unsafe: tuple[str, ...]
    named: tuple[str, ...]

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> Labelled:
        """The labelled prompts, at most 1,000 of a kind."""
        benign = some([prompt.text for prompt in prompts if prompt.label == "benign"])
        unsafe = some([prompt.text for prompt in prompts if prompt.label == "unsafe"])
        explicit = {prompt.text for prompt in prompts if prompt.kind == "explicit"}
        return cls(tuple(benign), tuple(unsafe), tuple(t for t in unsafe if t in explicit) or tuple(unsafe))


@dataclass(frozen=True)
class Steering:
    """The settings of the steering reward that an audit is about; see `reward` in the settings.

    Attributes:
        threshold: None is what best parts the benign from the unsafe prompts.
    """

    alpha: float
    threshold: float | None = None
    mode: SteeringMode = "translate"


@dataclass(frozen=True)
class Audit:
    """All that `anchors audit` reports.

    Attributes:
        gap: G, the mean score of benign prompts less that of unsafe prompts that name their harm: the unit.
        auc: between benign and all unsafe prompts.
        alpha, threshold: of the reward that is audited.
        shifts, alarms, drifts: one row per group.
        ranges, axes: one row per axis: how far its groups lie apart, and where its captions drift.
        suspicious: harmless captions that look harmful; none for World.
        anchors: each anchor left out.
        repaired: a list of anchors with a smaller worst shift; None where no group is named or none is found.
        pictures: reward by group of pictures, at alpha 0 and at alpha; none without pictures.
    """

    policy: str
    encoder: str
    gap: float
    auc: float
    alpha: float
    threshold: float
    shifts: tuple[GroupShift, ...]
    ranges: tuple[AxisRange, ...]
    alarms: tuple[GroupAlarms, ...]
    drifts: tuple[GroupDrift, ...]
    axes: tuple[AxisDrift, ...]
    suspicious: tuple[Suspicious, ...]
    anchors: tuple[Blame, ...]
    repaired: Repair | None
    pictures: tuple[PictureGroup, ...]

    @property
    def worst(self) -> GroupShift:
        """The group with the largest shift."""
        return max(self.shifts, key=lambda row: abs(row.shift))

    @property
    def named(self) -> list[GroupShift]:
        """The groups whose interval excludes 0 and whose estimate is not small, the largest first."""
        return sorted((row for row in self.shifts if row.named), key=lambda row: -abs(row.shift))

    @property
    def verdict(self) -> str:
        """One sentence."""
        way = f"{NAMED:.0%} or more of the way between unsafe and benign prompts"
        if not self.named:
            worst = f"{self.worst.group} {self.worst.shift:+.1%}"
            return (
                f"none of {len(self.shifts)} groups shifts measurably, by an estimated {way}; the largest "
                f"shift is {worst}"
            )
        listed = ", ".join(f"{row.group} {row.shift:+.1%}" for row in self.named)
        named = f"{len(self.named)} of {len(self.shifts)} groups"
        return f"{named} shift measurably, by an estimated {way}: {listed}"

    def record(self) -> dict[str, Any]:
        """The audit as JSON, for bias.json."""
        shifts = [asdict(row) | {"named": row.named} for row in self.shifts]
        pictures = [asdict(row) | {"named": row.named} for row in self.pictures]
        return asdict(self) | {
            "verdict": self.verdict,
            "worst": abs(self.worst.shift),
            "shifts": shifts,
            "pictures": pictures,
        }


def audit_policy(
    policy: SafetyPolicy,
    encoder: Encoder,
    prompts: Labelled,
    steering: Steering,
    pictures: Pictures | None = None,
) -> Audit:
    """Audit a safety policy in an encoder's space.

    Args:
        policy: the anchors.
        encoder: whose space it is.
        prompts: two or more benign and two or more unsafe ones.
        steering: of the reward that is audited.
        pictures: of groups; with World's encoder None means World's own, in every skin tone.

    Raises:
        UserError: too few prompts, or the direction does not put the benign ones above the unsafe ones.
    """
    if len(prompts.benign) < 2 or len(prompts.unsafe) < 2:
        raise UserError(
            f"an audit needs benign and unsafe prompts, but got {len(prompts.benign)} and "
            f"{len(prompts.unsafe)}; give a file with a `label` column of benign and unsafe"
        )
    direction = SafetyDirection.from_anchors(encoder, policy)
    with encoder.awake():
        return measured(direction, encoder, prompts, steering, pictures)


def measured(
    direction: SafetyDirection,
    encoder: Encoder,
    prompts: Labelled,
    steering: Steering,
    pictures: Pictures | None,
) -> Audit:
    """The audit of a direction."""
    v = direction.vector.cpu().double().numpy()
    alpha, threshold, mode = steering.alpha, steering.threshold, steering.mode
    benign, unsafe, named = (
        embed(encoder, texts) for texts in (prompts.benign, prompts.unsafe, prompts.named)
    )
    if threshold is None:
        threshold = separating(benign @ v, unsafe @ v)
    gap = positive_gap(direction.policy, benign, named, v)
    captions = audit_set(encoder.name)
    grids = [Grid.of(axis, encoder) for axis in captions.axes]
    count = sum(len(grid.axis.groups) for grid in grids)
    shifts = [row for grid in grids for row in group_shifts(grid, v, gap, count)]
    drifts = [drift(grid, v, alpha, mode) for grid in grids]
    anchors = Anchors(direction.policy, encoder, grids, benign, unsafe, named)
    if pictures is None and encoder.name == "world":
        pictures = skin_tones(encoder)
    alphas = sorted({0.0, alpha}) if pictures and pictures.prompts is not None else [alpha]
    return Audit(
        policy=direction.policy.name,
        encoder=encoder.name,
        gap=gap,
        auc=auc(benign @ v, unsafe @ v),
        alpha=alpha,
        threshold=threshold,
        shifts=tuple(shifts),
        ranges=tuple(axis_ranges(grids, v, gap)),
        alarms=tuple(row for grid in grids for row in group_alarms(grid, v, unsafe @ v, threshold)),
        drifts=tuple(row for rows, _ in drifts for row in rows),
        axes=tuple(axis for _, axis in drifts),
        suspicious=tuple(suspicious_kinds(captions.suspicious, encoder, v, gap, threshold)),
        anchors=tuple(blame(anchors)),
        repaired=repair(anchors) if any(row.named for row in shifts) else None,
        pictures=tuple(row for a in alphas for row in picture_groups(pictures, v, a, mode))
        if pictures
        else (),
    )


def positive_gap(policy: SafetyPolicy, benign: Array, named: Array, v: Array) -> float:
    """G, the mean score of benign prompts less that of unsafe ones.

    Raises:
        UserError: it is not positive.
    """
    gap = float((benign.mean(0) - named.mean(0)) @ v)
    if gap <= 0:
        raise UserError(
            f"{policy.name} does not put benign prompts above unsafe ones, so its shifts have no unit; look "
            "at `safediffusion anchors check`, and change the phrases or the prompts"
        )
    return gap
