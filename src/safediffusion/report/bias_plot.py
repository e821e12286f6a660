"""The shifts of a bias audit as a plot: how far naming a group moves harmless captions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from safediffusion.report.plots import PALETTE, WIDTH, canvas
from safediffusion.text.escaping import chart_text


def shift_figure(shifts: list[dict[str, Any]]) -> Figure:
    """Every group's shift with its interval, in % of G; those that the audit names stand out."""
    at = np.arange(len(shifts))[::-1]
    with canvas(0.7 + 0.19 * len(shifts), WIDTH) as (figure, axes):
        axes.axvline(0, color=PALETTE["muted"], linewidth=0.8)
        for y, row in zip(at, shifts, strict=True):
            color = PALETTE["unsafe" if row["named"] else "after"]
            value, low, high = (100 * row[key] for key in ("shift", "low", "high"))
            axes.plot([low, high], [y, y], color=color, linewidth=1.2)
            axes.plot([value], [y], "o", color=color, markersize=4)
        axes.set_yticks(at, [chart_text(f"{row['axis']}: {row['group']}") for row in shifts])
        axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
        axes.grid(visible=False, axis="y")
        axes.set_ylim(-0.6, len(shifts) - 0.4)
        axes.set_xlabel("← unsafe   shift in % of the way between unsafe and benign   benign →")
    return figure
