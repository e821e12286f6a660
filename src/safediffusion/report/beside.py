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
    """The results in RUN/eval/NAME, and the given ones.

    Args:
        folder: of the run; its own evaluations and strengths are left out.
        given: folders of results, or other runs, whose results after training are taken.

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
        other = RunFolder(path).eval_path("after") if RunFolder(path).config.exists() else path
        name = path.resolve().name
        unique = str(path) if name in {*OWN, *(one.name for one in found)} else name
        found.append(Beside(unique, metric_changes(before, other)))
    return found


def kept_beside(folder: RunFolder, before: Path) -> Iterator[Beside]:
    """The results that lie in the run; those that cannot be compared are left out with a warning."""
    for path in sorted(folder.eval_path().glob("*/")):
        if path.name in OWN or STRENGTH.fullmatch(path.name) or not any(path.glob("*/results.json")):
            continue
        try:
            yield Beside(path.name, metric_changes(before, path))
        except (UserError, Damaged) as error:
            log.warning("%s is left out of the report: %s", path, error)
