"""Metrics of one or several models, side by side: what every table and plot of a report is made of.

Intervals come from results.json, differences from the paired comparison of the raw records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluate.measures import Count, MeanOfRates, Rate
from ..evaluate.results import compare_task, read_results
from ..evaluate.tasks import TASKS, get_task
from ..runs import RunFolder

Comparison = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval, in the metric's own unit."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Change:
    """Difference from the first model, paired by row; `better` is None where the interval holds 0."""

    difference: float
    low: float
    high: float
    better: bool | None


@dataclass(frozen=True)
class Row:
    """One metric of one task.

    Attributes:
        estimates: one a model; None where a model lacks it.
        changes: one for each model after the first; None where nothing could be compared.
    """

    task: str
    metric: str
    higher_is_better: bool
    protocol: str
    kind: str
    estimates: tuple[Estimate | None, ...]
    changes: tuple[Change | None, ...]

    @property
    def name(self) -> str:
        """TASK/METRIC, as in summary.json."""
        return f"{self.task}/{self.metric}"

    @property
    def arrow(self) -> str:
        """Where better is."""
        return "↑" if self.higher_is_better else "↓"

    def show(self, value: float) -> str:
        """A value for people: rates as percent, counts whole, anything else to fit its size."""
        return f"{100 * value:.1f}%" if self.kind == "rate" else self._plain(value)

    def show_change(self, change: Change) -> str:
        """A signed difference; rates in percentage points."""
        scale, unit = (100, " pp") if self.kind == "rate" else (1, "")
        return f"{self._signed(scale * change.difference)}{unit}"

    def show_interval(self, part: Estimate | Change) -> str:
        """[low, high] in the unit of what it belongs to."""
        scale = 100 if self.kind == "rate" else 1
        each = self._signed if isinstance(part, Change) else self._number
        return f"[{each(scale * part.low)}, {each(scale * part.high)}]"

    def _number(self, value: float) -> str:
        return f"{value:.1f}" if self.kind == "rate" else self._plain(value)

    def _signed(self, value: float) -> str:
        text = self._number(value)
        return text if text.startswith("-") or not text.strip("0.") else f"+{text}"

    def _plain(self, value: float) -> str:
        if self.kind == "count":
            return f"{value:.0f}"
        largest = max(abs(e.value) for e in self.estimates if e)
        return f"{value:.2f}" if largest >= 1 else f"{value:.4f}"


def kind_of(task: str, metric: str) -> str:
    """rate, count or number: which unit a metric has."""
    measure = next(m for m in get_task(task).measures if m.name == metric)
    if isinstance(measure, Rate | MeanOfRates):
        return "rate"
    return "count" if isinstance(measure, Count) else "number"


def results_folder(path: Path) -> Path:
    """Where the results of a path are: a run folder stands for its trained model."""
    run = RunFolder(path)
    return run.eval("after") if run.config.is_file() else path


def rows_of(folders: Sequence[Path]) -> list[Row]:
    """Every metric of every task that any of the folders holds, in the tasks' own order.

    Args:
        folders: each with TASK/results.json and TASK/records.jsonl; differences are from the first.
    """
    results = [read_results(folder) for folder in folders]
    base, others = results[0], results[1:]
    compared = [{t: compare_task(t, base[t], other[t]) for t in other if t in base} for other in others]
    metrics = [{t: result.results["metrics"] for t, result in found.items()} for found in results]
    rows = []
    for task in TASKS.values():
        names = [
            m.name for m in task.measures if any(m.name in found.get(task.name, {}) for found in metrics)
        ]
        rows += [_row(task.name, name, metrics, compared) for name in names]
    return rows


def _row(task: str, metric: str, metrics: Sequence[Comparison], compared: Sequence[Comparison]) -> Row:
    found = [one.get(task, {}).get(metric) for one in metrics]
    changes = [one.get(task, {}).get(metric) for one in compared]
    known = next(one for one in found if one is not None)
    return Row(
        task=task,
        metric=metric,
        higher_is_better=known["higher_is_better"],
        protocol=known["protocol"],
        kind=kind_of(task, metric),
        estimates=tuple(f and Estimate(f["value"], f["ci_low"], f["ci_high"], f["n"]) for f in found),
        changes=tuple(c and Change(c["difference"], c["ci_low"], c["ci_high"], c["better"]) for c in changes),
    )


def run_rows(folder: RunFolder) -> tuple[list[Row], list[str]]:
    """A run's rows and the titles of their columns, as far as it has been judged."""
    titles = [when for when in ("before", "after") if any(folder.eval(when).glob("*/results.json"))]
    return (rows_of([folder.eval(when) for when in titles]) if titles else []), titles


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a run; empty where the run has not written it."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON file: {error}; restore it or train again") from error
