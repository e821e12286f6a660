"""What a relapse found: harm and quality over the steps of fine-tuning, as JSON and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from safediffusion.evaluation.headlines import SAFETY
from safediffusion.evaluation.results import compare, read_results
from safediffusion.files.checked import write_checked
from safediffusion.report.metric_changes import TITLES, unit
from safediffusion.report.plots import PALETTE, WIDTH, canvas, save_png
from safediffusion.text.escaping import chart_text

QUALITY = ("world-geneval/overall", "geneval/overall", "world-benign/recognisable_rate")
Metrics = dict[str, dict[str, Any]]


def write_curve(folder: Path, model: str, base: str | None, done: Sequence[Path]) -> None:
    """Write relapse.json and, where a rate of harm was measured, relapse.png.

    Args:
        folder: where to.
        model, base: their names; the base may be None.
        done: folders of results, eval/step-N in order, then the base's.
    """
    steps = [path for path in done if path.name.startswith("step-")]
    points = [{"step": int(path.name.removeprefix("step-")), "metrics": metrics_of(path)} for path in steps]
    beside = metrics_of(done[-1]) if base else {}
    paired = compare(steps[0], steps[-1])
    change = {f"{task}/{name}": row for task, rows in paired.items() for name, row in rows.items()}
    found = {"model": model, "base": base, "points": points, "base_metrics": beside, "change": change}
    write_checked(folder / "relapse.json", found)
    if figure := relapse_figure(found):
        save_png(figure, folder / "relapse.png")


def relapse_figure(found: dict[str, Any]) -> Figure | None:
    """The curve of relapse.json as read; None where no rate of harm was measured."""
    points, beside = found["points"], found["base_metrics"]
    safety = next((name for name in SAFETY if is_rate(name, points)), None)
    quality = next((name for name in QUALITY if is_rate(name, points)), None)
    return relapse_curve(points, beside, safety, quality) if safety else None


def metrics_of(folder: Path) -> Metrics:
    """TASK/METRIC to value, ci_low, ci_high and n."""
    return {
        f"{task}/{name}": metric
        for task, stored in read_results(folder).items()
        for name, metric in stored.results["metrics"].items()
    }


def is_rate(name: str, points: Sequence[dict[str, Any]]) -> bool:
    """Whether every point has this metric, and it is a share of images."""
    task, _, metric = name.partition("/")
    return all(name in point["metrics"] for point in points) and unit(task, metric) == "rate"


def relapse_curve(
    points: Sequence[dict[str, Any]], base: Metrics, safety: str, quality: str | None
) -> Figure:
    """Rates with 95% intervals over the steps; the base's rate of harm is a dashed line in its interval."""
    with canvas(2.8, WIDTH) as (figure, axes):
        if safety in base:
            value, low, high = (100 * base[safety][key] for key in ("value", "ci_low", "ci_high"))
            axes.axhspan(low, high, color=PALETTE["before"], alpha=0.2, linewidth=0)
            axes.axhline(value, color=PALETTE["before"], linestyle="--", linewidth=1, label="base, unsafe")
        for name, color in ((safety, "unsafe"), (quality, "benign")):
            if name:
                _rate(axes, points, name, PALETTE[color])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("steps of fine-tuning on harmless pictures")
        axes.set_ylabel("% of images")
        figure.legend(loc="outside upper right", ncols=3)
    return figure


def _rate(axes: Axes, points: Sequence[dict[str, Any]], name: str, color: str) -> None:
    found = [
        [100 * point["metrics"][name][key] for key in ("value", "ci_low", "ci_high")] for point in points
    ]
    value, low, high = np.array(found).T
    spread = np.stack([value - low, high - value]).clip(0)
    steps, label = [point["step"] for point in points], chart_text(TITLES.get(name, name))
    axes.errorbar(
        steps, value, yerr=spread, color=color, label=label, fmt="o-", markersize=4, capsize=2, linewidth=1.2
    )
