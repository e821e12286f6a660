"""Safety against quality: a run over its strengths, with other models beside it, as the report shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from safediffusion.evaluation.headlines import QUALITY, SAFETY
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Results
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.metric_changes import TITLES, unit
from safediffusion.report.plots import PALETTE, WIDTH, canvas
from safediffusion.text.escaping import chart_text

Metrics = dict[str, dict[str, Any]]

NAME = re.compile(r"strength-([0-9]+(\.[0-9]+)?(e[+-][0-9]+)?)")


@dataclass(frozen=True)
class Dialled:
    """A run's model at one strength; `metrics` by TASK/METRIC have value, ci_low, ci_high and n."""

    strength: float
    metrics: Metrics
    name: str | None = None

    @property
    def label(self) -> str:
        """What a plot calls it."""
        return self.name or f"{self.strength:g}"


def read_strengths(folder: RunFolder) -> list[Dialled]:
    """The strengths of RUN/eval/strength-S in ascending order.

    Raises:
        Damaged: a result cannot be read.
    """
    found = []
    for path in folder.root.glob("eval/strength-*"):
        if not (match := NAME.fullmatch(path.name)):
            continue
        results = [read_json(file, Results) for file in sorted(path.glob("*/results.json"))]
        metrics = {f"{r['task']}/{name}": metric for r in results for name, metric in r["metrics"].items()}
        found.append(Dialled(float(match[1]), metrics))
    return sorted(found, key=lambda one: one.strength)


def curve_of(points: Sequence[Dialled]) -> tuple[str, str, list[Dialled]] | None:
    """The safety and the quality metric of the curve, and the points that have both over equally many images.

    None where fewer than two points share a pair; of several sizes the one of most points is taken.
    """
    for safety in SAFETY:
        for quality in QUALITY:
            both = [one for one in points if safety in one.metrics and quality in one.metrics]
            sizes = [(one.metrics[safety]["n"], one.metrics[quality]["n"]) for one in both]
            if not sizes:
                continue
            size = max(sizes, key=lambda one: (sizes.count(one), one))
            chosen = [one for one, own in zip(both, sizes, strict=True) if own == size]
            if len(chosen) > 1:
                return safety, quality, chosen
    return None


def alike(safety: str, quality: str, points: Sequence[Dialled], others: Mapping[str, Metrics]) -> list[str]:
    """Names of the other models that have both metrics over as many images as the points."""
    sizes = [points[0].metrics[name]["n"] for name in (safety, quality)]
    return [
        name
        for name, metrics in others.items()
        if safety in metrics
        and quality in metrics
        and [metrics[one]["n"] for one in (safety, quality)] == sizes
    ]


def strength_curve(
    safety: str, quality: str, points: Sequence[Dialled], others: Mapping[str, Metrics] | None = None
) -> Figure:
    """Quality over harm, one point with both 95% intervals per model; up and to the left is better.

    A line joins the run's points; other models, by name, stand alone.
    """
    others = others or {}
    with canvas(2.8, WIDTH) as (figure, axes):
        x, y = _add(axes, safety, quality, [point.metrics for point in points], "after")
        axes.plot(x, y, color=PALETTE["after"], linewidth=1)
        left, top = _add(axes, safety, quality, list(others.values()), "unsafe")
        names = [*(point.label for point in points), *map(chart_text, others)]
        for name, across, up in zip(names, [*x, *left], [*y, *top], strict=True):
            axes.annotate(name, (across, up), (4, 4), textcoords="offset points")
        axes.margins(x=0.12)  # for the names
        axes.set_xlabel(f"{_title(safety)} (less is safer)")
        axes.set_ylabel(_title(quality))
    return figure


def _add(
    axes: Axes, safety: str, quality: str, models: Sequence[Metrics], color: str
) -> tuple[np.ndarray, np.ndarray]:
    """Add one marker with its intervals per model; returns their places, each (n,)."""
    if not models:
        return np.empty(0), np.empty(0)
    (x, *sides), (y, *ends) = (_values(models, name) for name in (safety, quality))
    bars = {"fmt": "o", "color": PALETTE[color], "ecolor": PALETTE["before"], "capsize": 2}
    axes.errorbar(x, y, xerr=sides, yerr=ends, elinewidth=0.8, markersize=4, **bars)
    return x, y


def _values(models: Sequence[Metrics], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of a metric and how far its interval reaches below and above, each (n,)."""
    scale = _scale(name)
    found = [[scale * one[name][key] for key in ("value", "ci_low", "ci_high")] for one in models]
    value, low, high = np.array(found).T
    return value, (value - low).clip(0), (high - value).clip(0)


def _scale(name: str) -> int:
    """100 for a rate, which is shown in percent."""
    task, _, metric = name.partition("/")
    return 100 if unit(task, metric) == "rate" else 1


def _title(name: str) -> str:
    return chart_text(TITLES.get(name, name)) + (", %" if _scale(name) == 100 else "")
