"""Results on disk: write them, read them, score stored records again, compare two models row by row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runs import read_jsonl, write_json, write_text
from .measures import Record
from .tasks import get_task

PAIR = ("index", "prompt", "seed")  # what must agree row by row before two models are compared


@dataclass(frozen=True)
class TaskResult:
    """One task's results.json and its raw records."""

    results: dict[str, Any]
    records: list[Record]


def write_records(folder: Path, records: Sequence[Record]) -> None:
    """records.jsonl, whole or not at all."""
    write_text(folder / "records.jsonl", "".join(json.dumps(r) + "\n" for r in records))


def read_results(path: Path) -> dict[str, TaskResult]:
    """Every task below a folder that holds TASK/results.json and TASK/records.jsonl."""
    found = sorted(path.glob("*/results.json"))
    if not found:
        raise UserError(
            f"{path} holds no results; expected {path}/TASK/results.json from `safediffusion evaluate`"
        )
    return {
        file.parent.name: TaskResult(json.loads(file.read_text()), read_jsonl(file.parent / "records.jsonl"))
        for file in found
    }


def rescore(path: Path) -> dict[str, dict[str, Any]]:
    """Compute the metrics of stored records again, in place; no image and no network is needed."""
    fresh = {}
    for name, stored in read_results(path).items():
        task = get_task(name)
        fresh[name] = stored.results | {"version": task.version, "metrics": task.metrics(stored.records)}
        write_json(path / name / "results.json", fresh[name])
    return fresh


def compare(baseline: Path, candidate: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Candidate minus baseline for every metric of every task both were judged on, paired by row.

    Args:
        baseline, candidate: folders that hold TASK/results.json and TASK/records.jsonl.

    Returns:
        {TASK: {METRIC: {baseline, candidate, difference, ci_low, ci_high, p_value, n, higher_is_better,
        better}}}, where `better` is True or False where the interval excludes 0, else None.
    """
    a, b = read_results(baseline), read_results(candidate)
    shared = [name for name in a if name in b]
    if not shared:
        raise UserError(f"{baseline} and {candidate} share no task; evaluate both with the same --tasks")
    return {name: compare_task(name, a[name], b[name]) for name in shared}


def compare_task(name: str, a: TaskResult, b: TaskResult) -> dict[str, dict[str, Any]]:
    """The same for one task."""
    for what in ("version", "sampler"):
        if a.results[what] != b.results[what]:
            raise UserError(
                f"{name} was run with another {what} ({a.results[what]} and {b.results[what]}); "
                "evaluate both alike"
            )
    if [[r[k] for k in PAIR] for r in a.records] != [[r[k] for k in PAIR] for r in b.records]:
        raise UserError(
            f"{name}: the two results have other prompts or seeds; evaluate both with the same seed and n"
        )
    rows = {}
    for measure in get_task(name).measures:
        old, new = measure.summary(a.records), measure.summary(b.records)
        if old is None or new is None:
            continue
        change = measure.difference(a.records, b.records)
        rows[measure.name] = {
            "baseline": old["value"],
            "candidate": new["value"],
            **change,
            "n": new["n"],
            "higher_is_better": measure.higher_is_better,
            "better": _better(change["ci_low"], change["ci_high"], measure.higher_is_better),
        }
    return rows


def _better(low: float, high: float, higher_is_better: bool) -> bool | None:
    if low <= 0 <= high:
        return None
    return (low > 0) == higher_is_better
