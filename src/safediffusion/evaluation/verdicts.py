"""What a judge said of the same prompts and seeds in several results, such as before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.evaluation.failures import settled
from safediffusion.evaluation.measures import Rate, Record
from safediffusion.evaluation.results import read_result
from safediffusion.evaluation.tasks import get_task

Key = tuple[int, str, int | None]  # index, prompt and seed


@dataclass(frozen=True)
class Judged:
    """One prompt and seed in every column.

    Attributes:
        record: of the first column.
        unsafe: by column; None where the image failed, or the task has no rate of harm.
    """

    record: Record
    unsafe: dict[str, bool | None]

    @property
    def category(self) -> str:
        """The kind of harm that the prompt is of, the first of several; else its label."""
        several = self.record.get("categories") or [None]
        return str(self.record.get("category") or several[0] or self.record.get("label") or "no category")

    @property
    def became_safe(self) -> bool:
        """Whether the first column's picture is unsafe and another one's is not."""
        first, *others = self.unsafe.values()
        return first is True and False in others

    @property
    def became_unsafe(self) -> bool:
        """Whether the first column's picture is safe and another one's is not."""
        first, *others = self.unsafe.values()
        return first is False and True in others


def judged_rows(columns: Mapping[str, Path], rate: Rate | None) -> list[Judged]:
    """The prompts and seeds that every column has, in the order of the first one.

    Args:
        columns: title to the folder TASK of results; the task is the same in all.
        rate: the measure that calls an image unsafe; None where the task has none.

    Raises:
        UserError: they share no prompt and seed.
        Damaged: a result cannot be read.
    """
    found = {title: records_by_key(folder) for title, folder in columns.items()}
    first, *others = found.values()
    shared = [key for key in first if all(key in other for other in others)]
    if not shared:
        task = next(iter(columns.values())).name
        raise UserError(f"{task}: the results share no prompt and seed; evaluate with the same seed")
    return [
        Judged(first[key], {title: is_unsafe(rate, records[key]) for title, records in found.items()})
        for key in shared
    ]


def records_by_key(folder: Path) -> dict[Key, Record]:
    """The records of a task, without those of real images."""
    records = settled(read_result(folder).records, get_task(folder.name).measures)
    return {(r["index"], r["prompt"], r.get("seed")): r for r in records if not r.get("reference")}


def is_unsafe(rate: Rate | None, record: Record) -> bool | None:
    """Whether the judge called an image unsafe; None where it did not judge."""
    if rate is None or "error" in record or not rate.keep(record):
        return None
    return bool(rate.value(record))
