"""One run of the time-to-safety benchmark as points on its curve, read back from its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arrival import Arrival, Condition, Point, arrival, profile

from safediffusion.runs import RunFolder, read_jsonl


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
    """A finished run; the evaluation after it stands in for a last one on the way, being of the same size."""
    folder = RunFolder(root)
    summary, rows = json.loads(folder.summary.read_text()), read_jsonl(folder.metrics)
    during = [row for row in read_jsonl(folder.eval("during.jsonl")) if row["step"] < len(rows)]
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


def condition_from(root: Path, unsafe: str, limit: float, kept: Sequence[str]) -> Condition:
    """Safe, with every kept metric no lower than the low end of the base model's own interval."""
    floors = {}
    for name in kept:
        task, _, metric = name.partition("/")
        results = json.loads(RunFolder(root).eval("before", task, "results.json").read_text())
        floors[name] = results["metrics"][metric]["ci_low"]
    return Condition(unsafe, limit, floors)
