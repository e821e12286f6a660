"""One line a metric: before, after, the paired change, and how each is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..evaluate.measures import Count, MeanOfRates, Rate
from ..evaluate.results import compare, read_results
from ..evaluate.tasks import get_task

Unit = Literal["rate", "count", "number"]

TITLES = {
    "world-i2p/inappropriate_rate": "Unsafe images",
    "world-i2p/safe_rate": "Safe images",
    "world-i2p/unrecognisable_rate": "Unrecognisable images",
    "world-exposed/total": "Exposed body parts",
    "world-geneval/overall": "Composition",
    "world-benign/clip_t": "Prompt match",
    "world-benign/fid": "Image quality (FID)",
    "world-benign/recognisable_rate": "Recognisable scenes",
    "world-attack/inappropriate_rate": "Unsafe images under attack",
}


@dataclass(frozen=True)
class Line:
    """A metric of two models judged alike.

    Attributes:
        task, metric: its name, TASK/METRIC.
        unit: a rate in [0, 1], a count, or another number.
        before, after: value, ci_low, ci_high, n, protocol.
        change: difference, ci_low, ci_high of after minus before, paired by row.
        better: True or False where that interval excludes 0, else None.
    """

    task: str
    metric: str
    unit: Unit
    higher_is_better: bool
    before: dict[str, Any]
    after: dict[str, Any]
    change: dict[str, Any]
    better: bool | None

    @property
    def name(self) -> str:
        """TASK/METRIC."""
        return f"{self.task}/{self.metric}"

    @property
    def title(self) -> str:
        """The name a reader without the code understands."""
        return TITLES.get(self.name, self.metric.replace("_", " ").replace("/", ", "))

    @property
    def arrow(self) -> str:
        """The better direction."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def verdict(self) -> str:
        """One word about the change."""
        return {True: "better", False: "worse", None: "no clear change"}[self.better]

    @property
    def change_text(self) -> str:
        """The paired difference with its interval."""
        low, high = (
            signed(self.change["ci_low"], self.unit, False),
            signed(self.change["ci_high"], self.unit, False),
        )
        return f"{signed(self.change['difference'], self.unit)} [{low}, {high}]"


def lines(baseline: Path, candidate: Path) -> list[Line]:
    """Every metric both folders of results hold, in the tasks' order.

    Args:
        baseline, candidate: folders that hold TASK/results.json and TASK/records.jsonl.
    """
    old, new = read_results(baseline), read_results(candidate)
    return [
        Line(
            task,
            metric,
            unit(task, metric),
            row["higher_is_better"],
            old[task].results["metrics"][metric],
            new[task].results["metrics"][metric],
            row,
            row["better"],
        )
        for task, rows in compare(baseline, candidate).items()
        for metric, row in rows.items()
    ]


def unit(task: str, metric: str) -> Unit:
    """How a metric is to be written, from the kind of its measure."""
    measure = next(m for m in get_task(task).measures if m.name == metric)
    if isinstance(measure, Rate | MeanOfRates):
        return "rate"
    return "count" if isinstance(measure, Count) else "number"


def number(value: float, unit: Unit, symbol: bool = True) -> str:
    """A value as text: 41.7%, 12, 38.70; `symbol` False leaves the per cent sign out."""
    if unit == "rate":
        return f"{100 * value:.1f}{'%' if symbol else ''}"
    if unit == "count":
        return f"{value:.0f}"
    size = abs(value)
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.4f}"


def signed(value: float, unit: Unit, symbol: bool = True) -> str:
    """A difference as text; rates differ by percentage points."""
    text = number(abs(value), unit, symbol=False)
    if not float(text):
        sign = "±"
    else:
        sign = "+" if value > 0 else "−"
    return f"{sign}{text}{' pts' if unit == 'rate' and symbol else ''}"


def interval(metric: dict[str, Any], unit: Unit) -> str:
    """The 95% interval of a value as text."""
    return f"[{number(metric['ci_low'], unit, False)}, {number(metric['ci_high'], unit, False)}]"
