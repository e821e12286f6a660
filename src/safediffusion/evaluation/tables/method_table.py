"""Several results as a table: one row per method, one column per metric, published numbers apart.

A value is marked best only where the paired interval against every other method excludes 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from safediffusion.errors import UserError
from safediffusion.evaluation.protocols import PROTOCOLS
from safediffusion.evaluation.results import TaskResult, compare_task, read_results
from safediffusion.evaluation.tasks import get_task

PUBLISHED = Path(__file__).parent / "published.yaml"
ALIKE = (
    "version", "sampler", "seeds", "n", "prompts_sha256", "reference_sha256", "n_skipped_minor", "n_failed",
)  # fmt: skip

Pairs = dict[tuple[str, str], dict[str, dict[str, Any]]]  # (method, method) to metric to difference


@dataclass(frozen=True)
class Value:
    """One method's value of one metric.

    Attributes:
        better: than the baseline: True or False where the paired interval excludes 0, else None.
        best: better than every other method, each by its paired interval.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    protocol: str
    higher_is_better: bool | None
    better: bool | None = None
    best: bool = False


@dataclass(frozen=True)
class MethodTable:
    """The values of several methods.

    Attributes:
        metrics: TASK/METRIC, in the tasks' order.
        rows: method to metric to value, the baseline first.
        published: numbers of papers on the same metrics: method, metric, value, protocol, note.
        warnings: why rows are not comparable.
        paired: whether every row has the baseline's prompts, seeds and sampler.
    """

    metrics: list[str]
    rows: dict[str, dict[str, Value]]
    published: list[dict[str, Any]]
    warnings: list[str]
    paired: bool


def method_table(columns: Mapping[str, Path]) -> MethodTable:
    """The table of several results.

    Args:
        columns: method to folder of TASK/results.json, the baseline first.
    """
    results = {name: read_results(path) for name, path in columns.items()}
    pairs, warnings = all_pairs(results)
    names = list(results)
    rows = {
        name: {
            f"{task}/{metric}": _value(name, names, f"{task}/{metric}", about, pairs)
            for task, r in found.items()
            for metric, about in r.results["metrics"].items()
        }
        for name, found in results.items()
    }
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    paired = all((names[0], other) in pairs for other in names[1:])
    return MethodTable(
        metrics, rows, published(metrics, smallest(results)), warnings, paired and not warnings
    )


def all_pairs(results: dict[str, dict[str, TaskResult]]) -> tuple[Pairs, list[str]]:
    """The paired differences of every two methods, and why some methods cannot be compared."""
    pairs: Pairs = {}
    warnings: list[str] = []
    for a, b in combinations(results, 2):
        shared = [task for task in results[a] if task in results[b]]
        if not shared:
            warnings.append(f"{a} and {b} share no task")
            continue
        for task in shared:
            one, two = results[a][task], results[b][task]
            warnings += [f"{a} and {b}, {task}: {reason}" for reason in unlike(one, two)]
            try:
                found = compare_task(task, one, two)
            except UserError:  # already among the warnings
                continue
            pairs.setdefault((a, b), {}).update({f"{task}/{k}": row for k, row in found.items()})
    return pairs, warnings


def unlike(a: TaskResult, b: TaskResult) -> list[str]:
    """How two results of one task differ, apart from the model."""
    one, two = a.results, b.results
    reasons = [
        f"other {key} ({one.get(key)} and {two.get(key)})" for key in ALIKE if one.get(key) != two.get(key)
    ]
    if [r["prompt"] for r in a.records] != [r["prompt"] for r in b.records]:
        reasons.append("other prompts")
    if one.get("detectors") != two.get("detectors"):
        reasons.append("other detectors")
    for metric, about in one["metrics"].items():
        if metric in two["metrics"] and about["protocol"] != two["metrics"][metric]["protocol"]:
            reasons.append(f"{metric} under other protocols")
    return reasons


def _value(name: str, names: list[str], metric: str, about: dict[str, Any], pairs: Pairs) -> Value:
    against = {other: _better(name, other, metric, pairs) for other in names if other != name}
    best = bool(against) and all(better is True for better in against.values())
    return Value(**about, better=against.get(names[0]), best=best)


def _better(name: str, other: str, metric: str, pairs: Pairs) -> bool | None:
    """Whether a method is better than another by the paired interval; None if the interval includes 0."""
    if (other, name) in pairs:
        return pairs[other, name].get(metric, {}).get("better")
    better = pairs.get((name, other), {}).get(metric, {}).get("better")
    return None if better is None else not better


def smallest(results: Mapping[str, Mapping[str, TaskResult]]) -> dict[str, TaskResult]:
    """Task to the result with the fewest images."""
    found: dict[str, TaskResult] = {}
    for tasks in results.values():
        for name, r in tasks.items():
            found[name] = min(found.get(name, r), r, key=lambda one: one.results["n"])
    return found


def published(metrics: list[str], judged: Mapping[str, TaskResult]) -> list[dict[str, Any]]:
    """Numbers of papers for metrics of the table, with the protocol they claim.

    Args:
        metrics: TASK/METRIC.
        judged: by task, the result that the note of a published sum refers to.
    """
    known = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return [
        {
            "method": row["method"],
            "metric": f"{row['task']}/{row['metric']}",
            "value": row["value"],
            "protocol": row["metric"],
            "note": "; ".join(filter(None, [row.get("note"), _unlike_sum(row, judged[row["task"]])])),
        }
        for row in known
        if f"{row['task']}/{row['metric']}" in metrics
    ]


def _unlike_sum(row: dict[str, Any], judged: TaskResult) -> str | None:
    """Why a published sum over all of a task's prompts cannot be compared with the table's own."""
    whole, n = get_task(row["task"]).n, judged.results["n"]
    if n >= whole or row["metric"] not in PROTOCOLS or not PROTOCOLS[row["metric"]].sums:
        return None
    skipped = judged.results.get("n_skipped_minor")
    why = f" ({skipped} skipped, they mention minors)" if skipped else ""
    return f"a sum over {whole} prompts, not comparable: here over {n}{why}"
