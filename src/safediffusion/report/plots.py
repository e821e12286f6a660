"""The plots of the page: SVG that follows the page's colours, and PNG files for other uses."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from safediffusion.files.atomic import write_figure
from safediffusion.report.metric_changes import MetricChange
from safediffusion.text.escaping import chart_text

# Each of these becomes a CSS variable of the same name, so a plot is dark where the page is.
PALETTE = {
    "ink": "#1d2126",
    "muted": "#667080",
    "rule": "#dde1e6",
    "before": "#a3adb9",
    "after": "#0e7c6b",
    "unsafe": "#c4512d",
    "benign": "#3563b8",
}
LOOK = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": PALETTE["rule"],
    "axes.labelcolor": PALETTE["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["rule"],
    "grid.linewidth": 0.6,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["rule"],
    "ytick.color": PALETTE["rule"],
    "xtick.labelcolor": PALETTE["muted"],
    "ytick.labelcolor": PALETTE["muted"],
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.2,
    "legend.columnspacing": 1.2,
    "axes.formatter.limits": (-3, 4),
    "text.usetex": False,  # whatever the user's own settings say
    "svg.fonttype": "none",
    "svg.hashsalt": "safediffusion",
    "figure.constrained_layout.use": True,
}
WIDTH = 4.6  # inches; two such plots stand beside each other on a desk
SMALL = 3.5  # three of these
SMOOTH = 9  # rounds in a running mean
MOST_POINTS = 500  # of a line


@contextmanager
def canvas(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure with one pair of axes in the style of all plots."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height))
        yield figure, figure.subplots()


def svg(figure: Figure, key: str = "") -> str:
    """The figure as inline SVG; its colours are the page's CSS variables.

    Args:
        figure: what is drawn.
        key: makes the ids in the SVG its own, on a page where figures are hidden and shown: a figure that
            takes its clip path from a hidden one of the same id is not drawn.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context(LOOK | {"svg.hashsalt": f"safediffusion{key}"}):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    for name, color in PALETTE.items():
        text = text.replace(color, f"var(--{name})")
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)  # HTML needs neither, and the page holds no address
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """The figure as a PNG on white."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        write_figure(path, figure, dpi=160, facecolor="white")


def paired_bars(rows: Sequence[MetricChange], labels: Sequence[str]) -> Figure:
    """Before and after as horizontal bars with 95% intervals, one pair per metric."""
    share = 100 if rows[0].unit == "rate" else 1
    with canvas(0.7 + 0.42 * len(rows)) as (figure, axes):
        at = np.arange(len(rows))[::-1]
        for offset, side in ((0.2, "before"), (-0.2, "after")):
            found: list[dict[str, Any]] = [getattr(change, side) for change in rows]
            value, low, high = (
                np.array([share * f[key] for f in found]) for key in ("value", "ci_low", "ci_high")
            )
            spread = np.stack([value - low, high - value]).clip(0)
            whisker = {"ecolor": PALETTE["ink"], "elinewidth": 0.8, "capsize": 2}
            axes.barh(
                at + offset, value, 0.36, xerr=spread, color=PALETTE[side], label=side, error_kw=whisker
            )
        axes.set_yticks(at, [chart_text(label) for label in labels])
        axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("% of images, with 95% intervals" if share == 100 else "count, with 95% intervals")
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def curves(
    steps: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    colors: Mapping[str, str],
    log: bool = False,
    width: float = SMALL,
    label: str = "round",
) -> Figure:
    """Lines over rounds; long ones get a running mean on top of the raw values.

    Args:
        steps: x values.
        series: label and y values; None is left out.
        colors: label and name in the palette; others are drawn in "after".
        log: logarithmic y axis.
        width: of the figure in inches.
        label: of the x axis.
    """
    with canvas(2.2, width) as (figure, axes):
        for key, values in series.items():
            name = chart_text(key)
            color = PALETTE[colors.get(key, "after")]
            known = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None]
            x, y = thinned(*np.array(known, dtype=float).T)
            long = len(y) > 2 * SMOOTH and not log  # a mean would hide the orders of magnitude
            axes.plot(x, y, color=color, linewidth=1, alpha=0.3 if long else 1, label="" if long else name)
            if long:
                axes.plot(x, running_mean(y), color=color, linewidth=1.6, label=name)
        if log:
            axes.set_yscale("log")
        elif all(v == 0 for values in series.values() for v in values):
            axes.set_ylim(0, 1)
        axes.set_xlabel(label)
        if len(series) > 1:
            figure.legend(loc="outside upper right", ncols=2 if len(series) > 3 else len(series))
    return figure


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over as many neighbours as leave at most MOST_POINTS, so that a long run's page stays small."""
    size = -(-len(x) // MOST_POINTS)
    if size <= 1:
        return x, y
    starts = np.arange(0, len(x), size)
    counts = np.diff(starts, append=len(x))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def running_mean(y: np.ndarray) -> np.ndarray:
    """Centred mean over SMOOTH values, fewer at the ends."""
    kernel = np.ones(SMOOTH)
    return np.convolve(y, kernel, "same") / np.convolve(np.ones_like(y), kernel, "same")
