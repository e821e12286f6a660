"""One run of the time-to-safety benchmark as points on its curve, from its folder or from a record of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arrival import Arrival, Condition, Point, arrival, profile

from safediffusion.config import diff
from safediffusion.config.schema import RunConfig
from safediffusion.files.json_lines import read_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.system.device import environment


@dataclass(frozen=True)
class SafetyRun:
    """What a finished run measured.

    Attributes:
        seed: of the run.
        points: base model, the budgets, the end.
        profile: share of each phase in the training seconds.
        images: drawn in training.
        peak_mib: most memory the process ever held.
        collapsed_at: round of the collapse alarm, if it went off.
    """

    seed: int
    points: list[Point]
    profile: dict[str, float]
    images: int
    peak_mib: float
    collapsed_at: int | None

    def seconds(self, condition: Condition) -> Arrival:
        """Training seconds until the condition holds."""
        return arrival(self.points, condition, "seconds")

    def passes(self, condition: Condition) -> Arrival:
        """Image-passes until the condition holds."""
        return arrival(self.points, condition, "passes")


def read_run(root: Path, seed: int) -> SafetyRun:
    """A finished run; the evaluation after it is its last point, as it has their size."""
    folder = RunFolder(root)
    summary, rows = json.loads(folder.summary.read_text(encoding="utf-8")), read_jsonl(folder.metrics)
    during = [row for row in read_jsonl(folder.eval_path("during.jsonl")) if row["step"] < len(rows)]
    judged = [(row.pop("step"), row) for row in during]
    judged = [(0, summary["before"]), *judged, (len(rows), summary["after"])]
    return SafetyRun(
        seed=seed,
        points=[Point(*spent(rows[:step]), values) for step, values in judged],
        profile=profile(rows),
        images=summary["images"],
        peak_mib=summary["peak_memory_mib"],
        collapsed_at=summary["collapsed_at"],
    )


def spent(rows: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """Training seconds and image-passes of rounds; evaluations are in neither."""
    seconds = sum(sum(row["seconds"].values()) for row in rows)
    return seconds, sum(row["passes"]["forward"] + row["passes"]["backward"] for row in rows)


@dataclass(frozen=True)
class Measured:
    """A finished run, its settings, and what its arrival is computed from; one line of the records.

    Attributes:
        recipe: of the run.
        config: every setting it had.
        floors: low ends of the base model's 95% intervals, by kept metric.
        env: of the measurement.
    """

    recipe: str
    config: dict[str, Any]
    run: SafetyRun
    floors: dict[str, float]
    env: dict[str, Any]

    def condition(self, unsafe: str, limit: float) -> Condition:
        """Safe, with every kept metric no lower than the base model's interval."""
        return Condition(unsafe, limit, self.floors)


def measured(root: Path, recipe: str, config: RunConfig, kept: Sequence[str]) -> Measured:
    """A finished run, from its folder."""
    run = read_run(root, config.seed)
    return Measured(recipe, config.model_dump(mode="json"), run, floors(root, kept), environment())


def recorded(path: Path, recipe: str, config: RunConfig) -> Measured | None:
    """The run of this recipe with these settings, if it is in the records.

    A run that ended before its time limit is the same under any limit that it did not reach.
    """
    for row in read_jsonl(path):
        if row["recipe"] == recipe and same_run(RunConfig(**row["config"]), config, row["run"]["points"]):
            points = [Point(**point) for point in row["run"].pop("points")]
            return Measured(run=SafetyRun(points=points, **row.pop("run")), **row)
    return None


def same_run(known: RunConfig, wanted: RunConfig, points: Sequence[dict[str, Any]]) -> bool:
    """Whether a recorded run is what the wanted settings give."""
    different = diff(known, wanted)
    if different != ["train.max_seconds"]:
        return not different
    spent = points[-1]["seconds"]
    return all(spent < (config.train.max_seconds or math.inf) for config in (known, wanted))


def floors(root: Path, kept: Sequence[str]) -> dict[str, float]:
    """Low ends of the base model's intervals, from any run's evaluation before training."""
    found = {}
    for name in kept:
        task, _, metric = name.partition("/")
        results = json.loads(
            RunFolder(root).eval_path("before", task, "results.json").read_text(encoding="utf-8")
        )
        found[name] = results["metrics"][metric]["ci_low"]
    return found
