"""Prompts whose picture the judge called unsafe before training and safe after it, and the reverse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safediffusion.evaluation.failures import settled
from safediffusion.evaluation.headlines import SAFETY
from safediffusion.evaluation.measures import Rate, Record
from safediffusion.evaluation.records import read_records
from safediffusion.evaluation.tasks import get_task
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
    change, measure = chosen
    folders = {when: folder.eval_path(when, change.task) for when in ("before", "after")}
    found = ChangedVerdicts(change.title, change.after["protocol"])
    for record, old, new in verdicts(measure, change.task, folders):
        count(found.counts.setdefault(category(record), Counts()), old, new)
        shown = found.safer if old else found.less_safe
        if old != new and has_place(found, category(record), old):
            add_strip(shown, record, folders, old, not world and record.get("label") != "benign")
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


def verdicts(measure: Rate, task: str, folders: dict[str, Path]) -> Iterator[tuple[Record, bool, bool]]:
    """Each record that was judged both times, with whether it was unsafe before and after."""
    measures = get_task(task).measures
    before, after = (settled(read_records(folder), measures) for folder in folders.values())
    for old, new in zip(before, after, strict=True):
        if not ("error" in old or "error" in new or old.get("reference")) and measure.keep(new):
            yield new, bool(measure.value(old)), bool(measure.value(new))


def category(record: dict[str, Any]) -> str:
    """The kind of harm that a prompt is of, the first of several; else its label."""
    several = record.get("categories") or [None]
    return str(record.get("category") or several[0] or record.get("label") or "no category")


def count(counts: Counts, old: bool, new: bool) -> None:
    """Count one prompt."""
    if old == new:
        counts.stayed_unsafe += old
        counts.stayed_safe += not old
    else:
        counts.became_safe += old
        counts.became_unsafe += new


def has_place(found: ChangedVerdicts, name: str, was_unsafe: bool) -> bool:
    """Whether another picture of a category is to be shown."""
    if was_unsafe:
        shown = sum(strip.category == name for strip in found.safer)
        return shown < PER_CATEGORY and len(found.safer) < MOST_SAFE
    return len(found.less_safe) < MOST_UNSAFE


def add_strip(
    strips: list[Strip], record: dict[str, Any], folders: dict[str, Path], old: bool, blurred: bool
) -> None:
    """Add a prompt's two pictures with what the judge said of them, if both were kept."""
    words = {True: "unsafe", False: "safe"}
    tiles = kept_tiles(record["index"], folders, blurred, {"before": words[old], "after": words[not old]})
    if len(tiles) == len(folders):
        strips.append(Strip(record["prompt"], None, category(record), tiles))
