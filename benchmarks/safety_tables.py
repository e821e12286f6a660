"""The tables, the plot and the JSON of the time-to-safety benchmark, from runs as read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arrival import REST, Condition, Ratio, band, ratio_over_seeds
from safety_runs import SafetyRun
from training_runs import Estimate, markdown

from safediffusion.report.plots import PALETTE, canvas, save_png

BASELINE = "world-paper"
COLORS = ("before", "after", "unsafe", "benign", "ink", "muted")
Runs = Mapping[str, Sequence[SafetyRun]]


def ratios(runs: Runs, condition: Condition, baseline: str = BASELINE) -> dict[str, dict[str, Ratio]]:
    """Recipe, then seconds and passes: how many times sooner than the baseline, paired by seed."""
    of = {name: {run.seed: run for run in own} for name, own in runs.items()}
    found = {}
    for name, own in of.items():
        seeds = sorted(own.keys() & of[baseline].keys())
        found[name] = {
            cost: ratio_over_seeds(
                [getattr(of[baseline][seed], cost)(condition) for seed in seeds],
                [getattr(own[seed], cost)(condition) for seed in seeds],
            )
            for cost in ("seconds", "passes")
        }
    return found


def arrival_table(runs: Runs, condition: Condition) -> str:
    """One row per recipe and seed."""
    header = (
        "recipe",
        "seed",
        "training time",
        "not yet at, s",
        "image-passes",
        "images",
        "peak MiB",
        "collapsed at",
    )
    rows = []
    for name, own in runs.items():
        for run in own:
            seconds, passes = run.seconds(condition), run.passes(condition)
            earlier = f"{seconds.before:,.0f}" if seconds.reached else "-"
            collapsed = "-" if run.collapsed_at is None else str(run.collapsed_at)
            cells = (seconds.tell(), earlier, passes.show(), f"{run.images:,}", f"{run.peak_mib:,.0f}")
            rows.append((name, str(run.seed), *cells, collapsed))
    return markdown(header, rows)


def ratio_table(runs: Runs, condition: Condition, baseline: str = BASELINE) -> str:
    """One row per recipe: how many times sooner than the baseline, and where it ends."""
    metrics = (condition.unsafe, *condition.floors)
    header = (
        "recipe",
        f"sooner than {baseline}, seconds",
        "image-passes",
        *(f"{m} at the end" for m in metrics),
    )
    rows = []
    for name, found in ratios(runs, condition, baseline).items():
        ends = [Estimate.of([run.points[-1].values[m] for run in runs[name]]) for m in metrics]
        sooner = ("1", "1") if name == baseline else (found["seconds"].show(), found["passes"].show())
        rows.append((name, *sooner, *(end.show(3) for end in ends)))
    return markdown(header, rows)


def profile_table(runs: Runs) -> str:
    """Share of each phase in the training seconds, mean over seeds, in percent."""
    phases = list(next(iter(runs.values()))[0].profile)
    rows = [
        (name, *(f"{100 * sum(run.profile[p] for run in own) / len(own):.1f}" for p in phases))
        for name, own in runs.items()
    ]
    return markdown(("recipe", *(f"{p}, %" for p in phases)), rows)


def page(runs: Runs, condition: Condition, about: Sequence[str], baseline: str = BASELINE) -> str:
    """The Markdown page."""
    floors = ", ".join(f"{name} >= {value:.4g}" for name, value in condition.floors.items())
    lines = (
        "# Time to safety\n",
        *about,
        f"\nA recipe has arrived at the first evaluated budget with {condition.unsafe} <= "
        f"{condition.limit:g} and {floors}, the low ends of the base model's 95% intervals. Seconds are of "
        "training, evaluations not counted; image-passes are rows through the network, forward and backward, "
        "counted; `> x`: not arrived when x were spent. A run arrived after its last evaluation without "
        "arrival, `not yet at`, and no later than at the one that is given. "
        "A ratio is the geometric mean over seeds [95%, percentile bootstrap over seeds: with "
        "three, their range]; `>=`: the baseline did not arrive everywhere, so it is a lower bound.\n",
        ratio_table(runs, condition, baseline),
        arrival_table(runs, condition),
        f"Where the training seconds go; the collapse alarm and image statistics are in `{REST}`:\n",
        profile_table(runs),
    )
    return "\n".join(lines)


def as_json(runs: Runs, condition: Condition, baseline: str = BASELINE) -> dict[str, Any]:
    """Everything the page shows, and the curves."""
    found = ratios(runs, condition, baseline)
    return {
        "baseline": baseline,
        "condition": asdict(condition),
        "recipes": {
            name: {
                "ratio": {cost: asdict(ratio) for cost, ratio in found[name].items()},
                "runs": [
                    asdict(run)
                    | {
                        "seconds": asdict(run.seconds(condition)),
                        "passes": asdict(run.passes(condition)),
                    }
                    for run in own
                ],
            }
            for name, own in runs.items()
        },
    }


def plot(runs: Runs, condition: Condition, path: Path) -> None:
    """The unsafe share over training seconds, one band per recipe: mean and 95% interval over seeds."""
    with canvas(3.2, 5.6) as (figure, axes):
        for (name, own), color in zip(runs.items(), COLORS * len(runs), strict=False):
            seconds, mean, low, high = zip(*band([run.points for run in own], condition.unsafe), strict=True)
            axes.plot(seconds, mean, color=PALETTE[color], marker=".", label=name)
            axes.fill_between(seconds, low, high, color=PALETTE[color], alpha=0.2, linewidth=0)
        axes.axhline(condition.limit, color=PALETTE["muted"], linestyle=":")
        axes.set(xlabel="training seconds", ylabel=condition.unsafe, ylim=(0, None))
        figure.legend(loc="outside upper right", ncols=3)
    save_png(figure, path)
