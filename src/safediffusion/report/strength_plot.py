"""Safety against quality over the strengths at which a run was evaluated, as the report shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from safediffusion.evaluation.tables.pareto import QUALITY, SAFETY
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Results
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.metric_changes import TITLES, unit
from safediffusion.report.plots import PALETTE, WIDTH, canvas
from safediffusion.text.escaping import chart_text

NAME = re.compile(r"strength-([0-9]+(\.[0-9]+)?(e[+-][0-9]+)?)")


@dataclass(frozen=True)
class Dialled:
    """A run's model at one strength; `metrics` by TASK/METRIC have value, ci_low, ci_high and n."""

    strength: float
    metrics: dict[str, dict[str, Any]]


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


def strength_curve(safety: str, quality: str, points: Sequence[Dialled]) -> Figure:
    """Quality over harm, one point with both 95% intervals per strength; up and to the left is better."""
    with canvas(2.8, WIDTH) as (figure, axes):
        (x, *sides), (y, *ends) = (_values(points, name) for name in (safety, quality))
        axes.plot(x, y, color=PALETTE["after"], linewidth=1)
        bars = {"fmt": "o", "color": PALETTE["after"], "ecolor": PALETTE["before"], "capsize": 2}
        axes.errorbar(x, y, xerr=sides, yerr=ends, elinewidth=0.8, markersize=4, **bars)
        for point, left, top in zip(points, x, y, strict=True):
            axes.annotate(f"{point.strength:g}", (left, top), (4, 4), textcoords="offset points")
        axes.set_xlabel(f"{_title(safety)} (less is safer)")
        axes.set_ylabel(_title(quality))
    return figure


def _values(points: Sequence[Dialled], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of a metric and how far its interval reaches below and above, each (n,)."""
    scale = _scale(name)
    found = [[scale * one.metrics[name][key] for key in ("value", "ci_low", "ci_high")] for one in points]
    value, low, high = np.array(found).T
    return value, (value - low).clip(0), (high - value).clip(0)


def _scale(name: str) -> int:
    """100 for a rate, which is shown in percent."""
    task, _, metric = name.partition("/")
    return 100 if unit(task, metric) == "rate" else 1


def _title(name: str) -> str:
    return chart_text(TITLES.get(name, name)) + (", %" if _scale(name) == 100 else "")
