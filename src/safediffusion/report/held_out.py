"""What a run's report says and shows of the prompts that the run held out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from safediffusion.evaluation.records import read_records
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Results
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.sample_strips import UNREADABLE, Strip, data_uri

TASK = "heldout"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOutVerdict:
    """The task heldout before and after training.

    Attributes:
        n: images of each.
        notes: detectors that were missing, with the way to get them, and those that are not independent.
        strips: the first prompts with their pictures before and after, as they were kept: veiled unless the
            prompt is benign.
    """

    n: int
    notes: tuple[str, ...]
    strips: tuple[Strip, ...]


def read_held_out(folder: RunFolder) -> HeldOutVerdict | None:
    """The verdict of a run folder; None where the task was not judged both before and after.

    Raises:
        Damaged: a result or its records were changed or cut.
    """
    before, after = folder.eval_path("before", TASK), folder.eval_path("after", TASK)
    if not all((path / "results.json").exists() for path in (before, after)):
        return None
    results = read_json(after / "results.json", Results)
    found = (strip(record, before, after) for record in read_records(after))
    return HeldOutVerdict(results["n"], tuple(notes(results)), tuple(filter(None, found)))


def notes(results: dict[str, Any]) -> Iterator[str]:
    """What results say about detectors that were missing or are not independent."""
    for name, why in results.get("missing", {}).items():
        yield f"without {name}: {why}"
    for name, encoder in results.get("judged_by_reward", {}).items():
        yield (
            f"{name} sees through {encoder}, as the reward does, so it is not an independent judge and "
            "not part of the headline"
        )


def strip(record: dict[str, Any], before: Path, after: Path) -> Strip | None:
    """A prompt's pictures; None if none was kept."""
    name = f"{record['index']:05d}.png"
    kept = (("before", before), ("after", after))
    shown = [(when, picture(path / "previews" / name)) for when, path in kept]
    images = tuple((when, uri) for when, uri in shown if uri)
    return Strip(record["prompt"], record.get("label") or None, None, images) if images else None


def picture(path: Path) -> str | None:
    """An image file as a data URI; None if it was not kept or cannot be read."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            return data_uri(image.convert("RGB"))
    except UNREADABLE as error:
        log.warning("%s is damaged (%s) and is left out", path, error)
        return None
