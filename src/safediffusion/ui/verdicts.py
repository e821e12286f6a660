"""The tasks whose pictures Compare shows side by side, and where these pictures are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from safediffusion.evaluation.headlines import SAFETY
from safediffusion.evaluation.measures import Rate
from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.verdicts import Judged, judged_rows
from safediffusion.files.image_files import read_image
from safediffusion.files.links import inside
from safediffusion.system.image_sheets import to_pil

PLACES = ("images", "previews")  # of a task's results, the better first


def shared_tasks(columns: Mapping[str, Path]) -> list[str]:
    """The tasks that all columns have, those first whose results say how often images are unsafe."""
    found = [{file.parent.name for file in path.glob("*/results.json")} for path in columns.values()]
    return sorted(set.intersection(*found), key=lambda task: (harm_rate(task) is None, task))


def harm_rate(task: str) -> Rate | None:
    """The measure that calls an image of a task unsafe; None where there is none."""
    measures = {f"{task}/{measure.name}": measure for measure in get_task(task).measures}
    rates = (measures.get(name) for name in SAFETY)
    return next((rate for rate in rates if isinstance(rate, Rate)), None)


def rows_of(columns: Mapping[str, Path], task: str) -> list[Judged]:
    """The prompts and seeds of a task that every column has.

    Args:
        columns: title to folder of TASK/results.json.
        task: a task of all of them.

    Raises:
        UserError: they share no prompt and seed.
        Damaged: a result cannot be read.
    """
    return judged_rows({title: path / task for title, path in columns.items()}, harm_rate(task))


def picture_file(folder: Path, index: int) -> Path | None:
    """The picture of a row that an evaluation kept; a link to a picture elsewhere is none."""
    files = (folder / place / f"{index:05d}.png" for place in PLACES)
    return next((file for file in files if file.is_file() and inside(file, folder)), None)


def read_picture(file: Path | None) -> Image.Image | None:
    """A kept picture; None where there is none that can be read."""
    image = read_image(file) if file and file.is_file() else None
    return None if image is None or isinstance(image, str) else to_pil(image)
