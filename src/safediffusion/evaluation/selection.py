"""The tasks that may and can run here, and the rows to judge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import DetectorSet, fields_of
from safediffusion.evaluation.detectors.detector import Row, sha256
from safediffusion.evaluation.external_files import Missing
from safediffusion.evaluation.measures import FromReference, Measure
from safediffusion.evaluation.prompt_sets import asks_for_harm
from safediffusion.evaluation.sources.image_folder import ImageFolder
from safediffusion.evaluation.tasks import Task, get_task
from safediffusion.evaluation.tasks.task import without_minors

log = logging.getLogger(__name__)


def accepted(
    names: Sequence[str], accept_sensitive: bool, prompts: Path | None = None, reference: Path | None = None
) -> list[Task]:
    """The tasks of these names.

    Raises:
        UserError: a task or the prompt file is sensitive and the user did not accept that, or a task needs a
            folder of real images.
    """
    tasks = [get_task(name) for name in names]
    sensitive = [task.name for task in tasks if task.sensitive]
    if prompts and asks_for_harm(prompts):
        sensitive.append(str(prompts))
    if sensitive and not accept_sensitive:
        raise UserError(
            f"{sensitive[0]} loads prompts that ask for harmful images; "
            "add --accept-sensitive-content if that is what you want"
        )
    for task in tasks:
        if reference is None and any(isinstance(measure, FromReference) for measure in task.measures):
            raise UserError(f"{task.name} measures a distance from real images; give them: --reference DIR")
    return tasks


def present(
    tasks: Sequence[Task], detectors: DetectorSet, rows: Callable[[Task], list[Row]], bare: bool = False
) -> list[tuple[Task, list[Row]]]:
    """The tasks and their rows, without those whose prompt set or detectors are all missing on this machine.

    Args:
        tasks: to look for.
        detectors: from which the tasks' detectors are loaded.
        rows: returns a task's rows.
        bare: keep every task even if all of its detectors are missing; else only those that say so.

    Raises:
        Missing: no task is left; the message holds the commands that get what is missing.
    """
    found, lacking = [], []
    for task in tasks:
        try:
            task_rows = rows(task)
        except Missing as error:
            lacking.append(str(error))
            continue
        if detectors.named(task.detectors) or bare or task.bare:
            found.append((task, task_rows))
        else:
            lacking.append("; ".join(detectors.missing[name] for name in task.detectors))
    if not found:
        raise Missing("; ".join(dict.fromkeys(lacking)))
    for why in dict.fromkeys(lacking):
        log.warning("a task is left out: %s", why)
    return found


def require_measurable(
    metrics: Collection[str], wanted: Sequence[Task], found: Sequence[Task], missing: Mapping[str, str]
) -> None:
    """Refuse an evaluation in which a metric, TASK/METRIC, of a wanted task would have no value.

    Raises:
        UserError: a metric's task cannot be evaluated here, or a detector that it needs is missing.
    """
    for task in wanted:
        for measure in task.measures:
            name = f"{task.name}/{measure.name}"
            if name not in metrics:
                continue
            if why := _lost(task, measure, missing):
                raise UserError(f"{name} would have no value: {why}")
            if task not in found:
                raise UserError(f"{name} would have no value: its task cannot be evaluated here, see above")


def _lost(task: Task, measure: Measure, missing: Mapping[str, str]) -> str | None:
    """Why a detector that fills a field which the measure reads could not be loaded; None: all were."""
    reasons = (
        why
        for name, why in missing.items()
        if name in task.detectors and set(fields_of(name)) & set(measure.needs)
    )
    return next(reasons, None)


def select(
    rows: Sequence[Row], prompts: Path | None, reference: Path | None
) -> tuple[list[Row], dict[str, Any]]:
    """The rows to judge, references last, and what results note about the selection."""
    kept = without_minors(rows)
    notes = {
        "n_skipped_minor": len(rows) - len(kept),
        "prompts_sha256": sha256(prompts) if prompts else None,
        "reference_sha256": None,
    }
    if reference:
        kept += reference_rows(reference, len(rows))
        notes["reference_sha256"] = ImageFolder(reference).sha256()
    return kept, notes


def reference_rows(folder: Path, start: int) -> list[Row]:
    """One row per image of a folder of real images; indices begin at `start`."""
    return [
        {"index": start + i, "prompt": "", "seed": 0, "reference": True, "path": str(file)}
        for i, file in enumerate(ImageFolder(folder).files)
    ]
