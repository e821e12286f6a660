"""What changed per metric: the values before and after, their paired difference, and how each is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safediffusion.evaluation.measures import Count, MeanOfRates, Rate
from safediffusion.evaluation.results import compare, read_results
from safediffusion.evaluation.tasks import get_task, list_tasks

Unit = Literal["rate", "count", "number"]

ARROWS = {True: "↑", False: "↓", None: ""}
TITLES = {
    "world-i2p/inappropriate_rate": "Unsafe images",
    "world-i2p/safe_rate": "Safe images",
    "world-i2p/unrecognisable_rate": "Unrecognisable images",
    "world-exposed/total": "Exposed body parts",
    "world-i2p/clip_t": "Prompt match of risky prompts",
    "world-geneval/overall": "Composition",
    "world-benign/clip_t": "Prompt match",
    "world-benign/fid": "Image quality (FID)",
    "world-benign/recognisable_rate": "Recognisable scenes",
    "world-attack/inappropriate_rate": "Unsafe images under attack",
    "i2p/receler-union": "Unsafe by NudeNet or Q16, I2P",
    "i2p/rece-rate": "Exposed parts seen by NudeNet, I2P",
    "i2p-official/inappropriateness": "Inappropriate images, I2P",
    "attack/receler-union": "Unsafe by NudeNet or Q16 under attack",
    "attack/rece-rate": "Exposed parts seen by NudeNet under attack",
    "geneval/overall": "Composition",
    "clip/clip_t": "Prompt match",
    "fid/clip_t": "Prompt match",
    "heldout/rece-rate/unsafe": "Exposed parts seen by NudeNet, held-out unsafe prompts",
    "heldout/q16/unsafe": "Inappropriate by Q16, held-out unsafe prompts",
    "heldout/zero-shot/unsafe": "Harm seen by a zero-shot CLIP, held-out unsafe prompts",
    "heldout/world-harm/unsafe": "Harm seen by World's judge, held-out unsafe prompts",
    "heldout/clip_t/benign": "Prompt match, held-out benign prompts",
    "heldout/observer_t/benign": "Prompt match, held-out benign prompts",
    "heldout/person_rate/benign": "The person asked for is there, held-out benign prompts",
    "heldout/world-person/benign": "The person asked for is there, held-out benign prompts",
}


@dataclass(frozen=True)
class MetricChange:
    """One metric of two models that were judged alike.

    Attributes:
        task, metric: its name, TASK/METRIC.
        unit: a rate in [0, 1], a count, or another number.
        before, after: value, ci_low, ci_high, n, protocol.
        difference: its difference, ci_low, ci_high of after minus before, paired by row; n_failed of both.
        better: True or False where that interval excludes 0, else None.
        by_reward: whether its detector sees through an encoder of the reward.
    """

    task: str
    metric: str
    unit: Unit
    higher_is_better: bool | None
    before: dict[str, Any]
    after: dict[str, Any]
    difference: dict[str, Any]
    better: bool | None
    by_reward: bool = False

    @property
    def name(self) -> str:
        """TASK/METRIC."""
        return f"{self.task}/{self.metric}"

    @property
    def title(self) -> str:
        """The metric's name for readers who do not know the code."""
        return title(self.task, self.metric)

    @property
    def failed(self) -> tuple[int, int]:
        """Numbers of images that failed before and after; the values are computed without them."""
        before, after = self.difference["n_failed"]
        return before, after

    @property
    def arrow(self) -> str:
        """The better direction; nothing where neither is."""
        return ARROWS[self.higher_is_better]

    @property
    def verdict(self) -> str:
        """One word about the change."""
        return {True: "better", False: "worse", None: "no clear change"}[self.better]

    @property
    def change_text(self) -> str:
        """The paired difference with its interval."""
        value, low, high = (self.difference[key] for key in ("difference", "ci_low", "ci_high"))
        like, points = self.before["value"], " pts" if self.unit == "rate" else ""
        ends = f"{signed(low, self.unit, like)}, {signed(high, self.unit, like)}"
        return f"{signed(value, self.unit, like)}{points} [{ends}]"


def metric_changes(baseline: Path, candidate: Path) -> list[MetricChange]:
    """Return every metric that both folders of results hold, in the order of the tasks.

    Args:
        baseline, candidate: folders that hold TASK/results.json and TASK/records.jsonl.
    """
    old, new = read_results(baseline), read_results(candidate)
    order = [task.name for task in list_tasks()]
    return [
        MetricChange(
            task,
            metric,
            unit(task, metric),
            row["higher_is_better"],
            old[task].results["metrics"][metric],
            new[task].results["metrics"][metric],
            row,
            row["better"],
            metric.split("/")[0] in new[task].results.get("judged_by_reward", {}),
        )
        for task, rows in sorted(compare(baseline, candidate).items(), key=lambda item: order.index(item[0]))
        for metric, row in rows.items()
    ]


def title(task: str, metric: str) -> str:
    """A metric's name for readers who do not know the code."""
    if metric == "blank_rate":
        return f"Blank or failed images, {task}"
    return TITLES.get(f"{task}/{metric}", metric.replace("_", " ").replace("/", ", "))


def unit(task: str, metric: str) -> Unit:
    """How a metric is to be written, from the kind of its measure."""
    measure = next(m for m in get_task(task).measures if m.name == metric)
    if isinstance(measure, Rate | MeanOfRates):
        return "rate"
    return "count" if isinstance(measure, Count) else "number"


def number(value: float, unit: Unit, like: float | None = None) -> str:
    """A value as text: 41.7%, 12, 38.70; `like` is the number that decides the decimals, else the value."""
    if unit == "rate":
        return f"{100 * value:.1f}%"
    if unit == "count":
        return f"{value:.0f}"
    size = abs(value if like is None else like)
    decimals = 1 if size >= 100 else 2 if size >= 1 or size == 0 else 4
    return f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float, unit: Unit, like: float) -> str:
    """A difference as text, without a unit; `like` is a value it is the difference of."""
    text = number(abs(value), unit, like).removesuffix("%")
    sign = ("+" if value > 0 else "−") if float(text) else "±"
    return sign + text


def interval(metric: dict[str, Any], unit: Unit) -> str:
    """The 95% interval of a value as text."""
    ends = (number(metric[key], unit, metric["value"]).removesuffix("%") for key in ("ci_low", "ci_high"))
    return f"[{', '.join(ends)}]"
