"""Results of other models, such as baselines, that a run's report shows beside the run's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safediffusion.errors import Damaged, UserError
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.metric_changes import MetricChange, metric_changes
from safediffusion.report.strength_plot import NAME as STRENGTH

OWN = ("before", "after", "during")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """Another model's metrics, each with its paired difference from the run's base."""

    name: str
    changes: list[MetricChange]


def read_beside(folder: RunFolder, given: Sequence[Path] = ()) -> list[Beside]:
    """The results in RUN/eval/NAME, and the given ones: folders of results, or other runs.

    Raises:
        UserError: a given folder holds no results, or they cannot be compared with the run's base.
    """
    before = folder.eval_path("before")
    if not any(before.glob("*/results.json")):
        if given:
            raise UserError(f"{folder.root} was not evaluated before training: nothing to compare with")
        return []
    found = list(kept_beside(folder, before))
    for path in given:
        taken = {*OWN, *(one.name for one in found)}
        name = path.resolve().name if path.resolve().name not in taken else str(path)
        found.append(Beside(name, metric_changes(before, results_of(path))))
    return found


def results_of(path: Path) -> Path:
    """A folder of results: of a run those after training."""
    run = RunFolder(path)
    return run.eval_path("after") if run.config.exists() else path


def kept_beside(folder: RunFolder, before: Path) -> Iterator[Beside]:
    """The results that lie in the run; those that cannot be compared are left out with a warning."""
    for path in sorted(folder.eval_path().glob("*/")):
        if path.name in OWN or STRENGTH.fullmatch(path.name) or not any(path.glob("*/results.json")):
            continue
        try:
            yield Beside(path.name, metric_changes(before, path))
        except (UserError, Damaged) as error:
            log.warning("%s is left out of the report: %s", path, error)
