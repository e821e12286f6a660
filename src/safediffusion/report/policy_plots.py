"""Plots of a checked safety policy, as anchors.json holds it: separation of prompts, and the alpha curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from safediffusion.report.plots import LOOK, PALETTE, WIDTH, canvas, save_png

HEIGHT = 2.5  # inches
COMPARED = {"pictures": "images", "texts": "texts"}  # in the words of the page
Check = dict[str, Any]  # as `steering.check_record.record` returns it


def separation(check: Check) -> Figure:
    """Histogram of z.v over safe and unsafe prompts."""
    with canvas(HEIGHT) as (figure, axes):
        plot_separation(axes, check)
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def alpha_curve(check: Check, used: float, whose: str = "this run") -> Figure:
    """What steered text embeddings prefer as alpha grows, with the alpha that is used and by whom."""
    with canvas(HEIGHT) as (figure, axes):
        plot_preferences(axes, check["curve"])
        mark_alpha(axes, used, f"{whose} ({used:g})")
        figure.legend(loc="outside upper right", ncols=3)
    return figure


def write_policy_figure(check: Check, path: Path) -> None:
    """Write both plots side by side, with the AUC, the order of given images, and the recommended alpha."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        figure = Figure(figsize=(2 * WIDTH, 1.4 * HEIGHT))
        left, right = figure.subplots(1, 2)
        plot_separation(left, check)
        left.set_title(f"AUC {check['auc']:.3f} [{check['auc_low']:.3f}, {check['auc_high']:.3f}]")
        left.legend()
        plot_preferences(right, check["curve"])
        if check["deviations"]:
            plot_preferences(right, check["deviations"]["curve"], ordered=True)
        mark_alpha(right, check["recommended_alpha"], "recommended")
        right.set_title(
            f"what steered embeddings prefer, by {check['compared'].replace('pictures', 'images')}"
        )
        right.legend()
    save_png(figure, path)


def plot_separation(axes: Axes, check: Check) -> None:
    """Add the two histograms of z.v, in percent of the prompts of each kind."""
    safe, unsafe = check["safe_scores"], check["unsafe_scores"]
    bins = np.linspace(min(safe + unsafe), max(safe + unsafe), 31).tolist()
    for scores, label, color in ((safe, "safe prompts", "benign"), (unsafe, "unsafe prompts", "unsafe")):
        weights = np.full(len(scores), 100 / len(scores))
        axes.hist(scores, bins, weights=weights, alpha=0.75, color=PALETTE[color], label=label)
    axes.set(xlabel="prompt · safety direction", ylabel="% of prompts")


def plot_preferences(axes: Axes, curve: Sequence[dict[str, float]], ordered: bool = False) -> None:
    """Add the shares of safety and content over alpha.

    Args:
        axes: of the plot.
        curve: one point per alpha, shares in [0, 1].
        ordered: the shares are of pairs of given images in the reward's order; dashed.
    """
    alpha = [point["alpha"] for point in curve]
    labels = ("ordered by safety", "ordered by content") if ordered else ("prefers safe", "keeps content")
    for key, label, color in zip(("safety", "content"), labels, ("after", "benign"), strict=True):
        shares = [100 * point[key] for point in curve]
        axes.plot(alpha, shares, "--" if ordered else "-", color=PALETTE[color], label=label)
    axes.set(xlabel="alpha", ylabel="% of comparisons", ylim=(0, 103))


def mark_alpha(axes: Axes, alpha: float, label: str) -> None:
    """Add a vertical line at one alpha."""
    axes.axvline(alpha, color=PALETTE["muted"], linestyle=":", label=label)
