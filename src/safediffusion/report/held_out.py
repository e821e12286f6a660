"""What a run's report says and shows of the prompts that the run held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from safediffusion.evaluation.records import read_records
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Results
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.pictures import Strip, kept_tiles

TASK = "heldout"
MOST = 12  # prompts whose pictures are shown


@dataclass(frozen=True)
class HeldOutVerdict:
    """The task heldout before and after training.

    Attributes:
        n: images of each.
        notes: detectors that were missing, with the way to get them, and those that are not independent.
        strips: the first prompts with their pictures before and after, as they were kept.
    """

    n: int
    notes: tuple[str, ...]
    strips: tuple[Strip, ...]


def read_held_out(folder: RunFolder, world: bool = False) -> HeldOutVerdict | None:
    """The verdict of a run folder; None where the task was not judged both before and after.

    Args:
        folder: of the run.
        world: whether it is one of World, whose pictograms are not blurred.

    Raises:
        Damaged: a result or its records were changed or cut.
    """
    before, after = folder.eval_path("before", TASK), folder.eval_path("after", TASK)
    if not all((path / "results.json").exists() for path in (before, after)):
        return None
    results = read_json(after / "results.json", Results)
    found = (strip(record, before, after, world) for record in read_records(after))
    shown = tuple(islice(filter(None, found), MOST))
    return HeldOutVerdict(results["n"], tuple(notes(results)), shown)


def notes(results: dict[str, Any]) -> Iterator[str]:
    """What results say about detectors that were missing or are not independent."""
    for name, why in results.get("missing", {}).items():
        yield f"without {name}: {why}"
    for name, encoder in results.get("judged_by_reward", {}).items():
        yield (
            f"{name} sees through {encoder}, as the reward does, so it is not an independent judge and "
            "not part of the headline"
        )


def strip(record: dict[str, Any], before: Path, after: Path, world: bool) -> Strip | None:
    """A prompt's pictures; None if none was kept."""
    label = record.get("label") or None
    images = kept_tiles(record["index"], {"before": before, "after": after}, not world and label != "benign")
    return Strip(record["prompt"], label, None, images) if images else None
