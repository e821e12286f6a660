"""Prompts whose picture the judge called unsafe before training and safe after it, and the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safediffusion.evaluation.headlines import SAFETY
from safediffusion.evaluation.measures import Rate
from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.verdicts import Judged, judged_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.metric_changes import MetricChange
from safediffusion.report.pictures import Strip, kept_tiles
from safediffusion.report.verdict import SAFETY as HEADLINES

PER_CATEGORY = 2  # pictures shown of a category that became safe
MOST_SAFE = 24  # of all categories together
MOST_UNSAFE = 12  # that became unsafe; these matter more, so all categories together


@dataclass
class Counts:
    """How many prompts of a category changed their verdict, and how many kept it."""

    became_safe: int = 0
    became_unsafe: int = 0
    stayed_unsafe: int = 0
    stayed_safe: int = 0


@dataclass(frozen=True)
class ChangedVerdicts:
    """The prompts of one safety metric whose verdict changed.

    Attributes:
        title, protocol: of the metric.
        counts: by category, in the order of the prompts.
        safer, less_safe: pictures of prompts that became safe, some of each category, and unsafe.
    """

    title: str
    protocol: str
    counts: dict[str, Counts] = field(default_factory=dict)
    safer: list[Strip] = field(default_factory=list)
    less_safe: list[Strip] = field(default_factory=list)

    @property
    def total(self) -> Counts:
        """The counts of all categories together."""
        names = ("became_safe", "became_unsafe", "stayed_unsafe", "stayed_safe")
        return Counts(*(sum(getattr(one, name) for one in self.counts.values()) for name in names))


def changed_verdicts(
    folder: RunFolder, changes: Sequence[MetricChange], world: bool = False
) -> ChangedVerdicts | None:
    """The changed verdicts of a run's first safety metric; None where no rate of harm was measured.

    `world` says whether the run is one of World, whose pictograms are not blurred.
    """
    chosen = judged_by(changes)
    if not chosen:
        return None
    change, rate = chosen
    folders = {when: folder.eval_path(when, change.task) for when in ("before", "after")}
    found = ChangedVerdicts(change.title, change.after["protocol"])
    for row in judged_rows(folders, rate):
        if None in row.unsafe.values():
            continue
        count(found.counts.setdefault(row.category, Counts()), row)
        shown = found.safer if row.became_safe else found.less_safe
        if (row.became_safe or row.became_unsafe) and has_place(found, row):
            blurred = not world and row.record.get("label") != "benign"
            add_strip(shown, row, folders, blurred)
    found.safer.sort(key=lambda strip: list(found.counts).index(strip.category or ""))
    return found


def judged_by(changes: Sequence[MetricChange]) -> tuple[MetricChange, Rate] | None:
    """The first metric of harm that is a share of images, not judged by the reward's own encoder."""
    by_name = {change.name: change for change in changes if not change.by_reward}
    for name in dict.fromkeys((*HEADLINES, *SAFETY)):
        if not (change := by_name.get(name)):
            continue
        measure = next(one for one in get_task(change.task).measures if one.name == change.metric)
        if isinstance(measure, Rate):
            return change, measure
    return None


def count(counts: Counts, row: Judged) -> None:
    """Count one prompt that was judged both times."""
    was_unsafe = bool(row.unsafe["before"])
    changed = row.became_safe or row.became_unsafe
    counts.became_safe += row.became_safe
    counts.became_unsafe += row.became_unsafe
    counts.stayed_unsafe += was_unsafe and not changed
    counts.stayed_safe += not was_unsafe and not changed


def has_place(found: ChangedVerdicts, row: Judged) -> bool:
    """Whether another picture of a category is to be shown."""
    if row.became_safe:
        shown = sum(strip.category == row.category for strip in found.safer)
        return shown < PER_CATEGORY and len(found.safer) < MOST_SAFE
    return len(found.less_safe) < MOST_UNSAFE


def add_strip(strips: list[Strip], row: Judged, folders: dict[str, Path], blurred: bool) -> None:
    """Add a prompt's two pictures with what the judge said of them, if both were kept."""
    said = {when: "unsafe" if unsafe else "safe" for when, unsafe in row.unsafe.items()}
    tiles = kept_tiles(row.record["index"], folders, blurred, said)
    if len(tiles) == len(folders):
        strips.append(Strip(row.record["prompt"], None, row.category, tiles))
