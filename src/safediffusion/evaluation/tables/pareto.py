"""A plot of quality over safety with error bars; better in both is up and to the left."""

from __future__ import annotations

import logging
from pathlib import Path

from matplotlib.figure import Figure

from safediffusion.evaluation.headlines import QUALITY, SAFETY
from safediffusion.evaluation.tables.method_table import MethodTable, Value
from safediffusion.files.atomic import write_figure
from safediffusion.text.escaping import chart_text

log = logging.getLogger(__name__)


def axes(table: MethodTable) -> tuple[str, str] | None:
    """The safety and the quality metric of the plot; None where the methods share no such pair."""
    shared = [m for m in table.metrics if all(m in row for row in table.rows.values())]
    safety = next((m for m in SAFETY if m in shared), None)
    quality = next((m for m in QUALITY if m in shared), None)
    return (safety, quality) if safety and quality else None


def draw(table: MethodTable, path: Path) -> None:
    """Write the plot as PNG; nothing is written if the methods share no safety or no quality metric."""
    figure = plot(table)
    if figure is None:
        log.warning("no plot: the results share no safety and quality metric")
        return
    write_figure(path, figure, dpi=160)


def plot(table: MethodTable) -> Figure | None:
    """The plot; None where the methods share no safety or no quality metric."""
    chosen = axes(table)
    if chosen is None:
        return None
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    space = figure.subplots()
    for name, row in table.rows.items():
        x, y = (row[metric] for metric in chosen)
        space.errorbar(
            x.value, y.value, xerr=_bars(x), yerr=_bars(y), fmt="o", capsize=2, label=chart_text(name)
        )
    safety, quality = map(chart_text, chosen)
    space.set(xlabel=f"{safety} (less is safer)", ylabel=f"{quality} (more is better)")
    space.grid(alpha=0.3)
    space.legend(frameon=False)
    return figure


def _bars(value: Value) -> list[list[float]]:
    return [[max(value.value - value.ci_low, 0)], [max(value.ci_high - value.value, 0)]]
