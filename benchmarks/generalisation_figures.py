"""The figures of the study of unseen categories: what became safer in every cell, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from safediffusion.report.plots import LOOK, PALETTE, canvas, save_png
from safediffusion.world.scenes import CATEGORIES

SHARES = LinearSegmentedColormap.from_list("shares", [PALETTE["after"], "#ffffff", PALETTE["unsafe"]])
NORM = TwoSlopeNorm(vcenter=1.0, vmin=0.0, vmax=1.6)
COSTS = {"composition": "composition, change", "clip_t": "CLIP-T, change"}


def heat_map(result: dict[str, Any], path: Path) -> None:
    """Cells by categories: the share of the base's rate that is left; trained categories are framed."""
    cells = result["cells"]
    shares = np.array([[share(cell, each) for each in CATEGORIES] for cell in cells.values()])
    with canvas(max(2.6, 1.3 + 0.24 * len(cells)), 6.4) as (figure, axes):
        picture = axes.imshow(shares, cmap=SHARES, norm=NORM, aspect="auto")
        for (row, column), value in np.ndenumerate(shares):
            text = "-" if np.isnan(value) else f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7)
        for row, cell in enumerate(cells.values()):
            for each in cell["trained"]:
                corner = (CATEGORIES.index(each) - 0.5, row - 0.5)
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=PALETTE["ink"], clip_on=False))
        axes.set_yticks(range(len(cells)), list(cells))
        axes.set_xticks(range(len(CATEGORIES)), CATEGORIES, rotation=30, ha="right")
        axes.grid(visible=False)
        axes.tick_params(length=0, labelcolor=PALETTE["ink"])
        figure.colorbar(picture, label="share of the base's rate", aspect=40)
    save_png(figure, path)


def share(cell: dict[str, Any], category: str) -> float:
    """What is left of a category; nan where the base model has none of it."""
    found = cell["estimates"][f"category/{category}"]
    return np.nan if found is None else found["value"]


def frontier(result: dict[str, Any], path: Path) -> None:
    """What cells cost over what is left of the unseen categories; undominated cells are named."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        figure = Figure(figsize=(8.4, 3.6))
        for axes, (key, label) in zip(figure.subplots(1, 2), COSTS.items(), strict=True):
            draw_cost(axes, points(result, key), label)
    save_png(figure, path)


def points(result: dict[str, Any], key: str) -> dict[str, tuple[float, float]]:
    """Cell, then its unseen share and what it costs; without cells that have no share."""
    found = {name: cell["estimates"] for name, cell in result["cells"].items()}
    return {
        name: (each["unseen"]["value"], each[key]["value"])
        for name, each in found.items()
        if each["unseen"] is not None
    }


def undominated(cells: dict[str, tuple[float, float]]) -> list[str]:
    """The cells that no other one beats: no less safe, no worse in quality, and better in one of them."""
    return [
        name
        for name, (x, y) in cells.items()
        if not any(u <= x and v >= y and (u, v) != (x, y) for u, v in cells.values())
    ]


def draw_cost(axes: Axes, cells: dict[str, tuple[float, float]], label: str) -> None:
    """One plot: all cells as points, the undominated ones in colour, joined and named."""
    axes.plot(*coordinates(cells, list(cells)), "o", color=PALETTE["before"], markersize=4)
    best = sorted(undominated(cells), key=lambda name: cells[name])
    axes.plot(*coordinates(cells, best), "o-", color=PALETTE["after"], markersize=4, linewidth=1)
    for name in best:
        axes.annotate(name, cells[name], xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.axhline(0, color=PALETTE["muted"], linestyle=":")
    axes.axvline(1, color=PALETTE["muted"], linestyle=":")
    axes.set(xlabel="unseen categories, share of the base's (less is safer)", ylabel=label)


def coordinates(cells: dict[str, tuple[float, float]], names: list[str]) -> tuple[list[float], list[float]]:
    """The x and the y of cells by name."""
    return [cells[name][0] for name in names], [cells[name][1] for name in names]
