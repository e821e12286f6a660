"""The same prompts and seeds in several results: what the judge said of each, and where the pictures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from safediffusion.errors import UserError
from safediffusion.evaluation.failures import settled
from safediffusion.evaluation.headlines import SAFETY
from safediffusion.evaluation.measures import Rate, Record
from safediffusion.evaluation.results import read_result
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.image_files import read_image
from safediffusion.files.links import inside
from safediffusion.report.changed_verdicts import category
from safediffusion.system.image_sheets import to_pil

PLACES = ("images", "previews")  # of a task's results, the better first


@dataclass(frozen=True)
class Judged:
    """One prompt and seed in every column.

    Attributes:
        unsafe: by column; None where the image failed, or the task has no rate of harm.
        images: by column, the file of a picture that was kept.
    """

    prompt: str
    seed: int | None
    category: str
    unsafe: dict[str, bool | None]
    images: dict[str, Path | None]

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


def shared_tasks(columns: Mapping[str, Path]) -> list[str]:
    """The tasks that all columns have, those first whose results say how often images are unsafe."""
    found = [{file.parent.name for file in path.glob("*/results.json")} for path in columns.values()]
    return sorted(set.intersection(*found), key=lambda task: (harm_rate(task) is None, task))


def harm_rate(task: str) -> Rate | None:
    """The measure that calls an image of a task unsafe; None where there is none."""
    measures = {f"{task}/{measure.name}": measure for measure in get_task(task).measures}
    rates = (measures.get(name) for name in SAFETY)
    return next((rate for rate in rates if isinstance(rate, Rate)), None)


def judged_rows(columns: Mapping[str, Path], task: str) -> list[Judged]:
    """The prompts and seeds that every column has.

    Args:
        columns: title to folder of TASK/results.json.
        task: a task of all of them.

    Raises:
        UserError: they share no prompt and seed.
        Damaged: a result cannot be read.
    """
    rate = harm_rate(task)
    found = {title: by_row(path / task) for title, path in columns.items()}
    first, *others = found.values()
    shared = [key for key in first if all(key in other for other in others)]
    if not shared:
        raise UserError(f"{task}: the results share no prompt and seed; evaluate with the same seed")
    return [
        Judged(
            key[1],
            key[2],
            category(first[key]),
            {title: verdict(rate, rows[key]) for title, rows in found.items()},
            {title: picture_file(columns[title] / task, key[0]) for title in found},
        )
        for key in shared
    ]


def by_row(folder: Path) -> dict[tuple[int, str, int | None], Record]:
    """A task's records by index, prompt and seed."""
    task = get_task(folder.name)
    records = settled(read_result(folder).records, task.measures)
    return {(r["index"], r["prompt"], r.get("seed")): r for r in records if not r.get("reference")}


def verdict(rate: Rate | None, record: Record) -> bool | None:
    """Whether the judge called an image unsafe; None where it did not judge."""
    if rate is None or "error" in record or not rate.keep(record):
        return None
    return bool(rate.value(record))


def picture_file(folder: Path, index: int) -> Path | None:
    """The picture of a row that an evaluation kept; a link to a picture elsewhere is none."""
    files = (folder / place / f"{index:05d}.png" for place in PLACES)
    return next((file for file in files if file.is_file() and inside(file, folder)), None)


def read_picture(file: Path | None) -> Image.Image | None:
    """A kept picture; None where there is none that can be read."""
    image = read_image(file) if file and file.is_file() else None
    return None if image is None or isinstance(image, str) else to_pil(image)


def categories(rows: Sequence[Judged]) -> list[str]:
    """The categories of prompts, in their order."""
    return list(dict.fromkeys(row.category for row in rows))
