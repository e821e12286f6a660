"""The charts of a run: results, training, safety direction. Values that were not recorded have no chart."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib.figure import Figure

from safediffusion.report import plots, policy_plots
from safediffusion.report.bias_plot import shift_figure
from safediffusion.report.metric_changes import MetricChange
from safediffusion.report.relapse_plot import relapse_figure
from safediffusion.report.run_data import RunData
from safediffusion.report.strength_plot import Dialled, alike, curve_of, strength_curve
from safediffusion.report.verdict import headline_changes

CATEGORY = "inappropriate_rate/"
RECENT = 10  # rounds in a mean
SIDES = ("before", "after")
KINDS = ("explicit", "implicit")  # of prompts; rates of these, alone or by category, are not of a category


@dataclass(frozen=True)
class Chart:
    """A figure with its title and a note that explains it."""

    key: str
    title: str
    note: str
    figure: Figure

    @property
    def svg(self) -> str:
        """Inline SVG."""
        return plots.svg(self.figure)


def result_charts(run: RunData) -> list[Chart]:
    """Safety by category, composition by task, and the small evaluations during training."""
    rates = run.of("world-i2p", CATEGORY)
    categories = [change for change in rates if change.metric.split("/")[1] not in KINDS]
    composition = [c for c in run.of("world-geneval") if c.metric not in ("overall", "blank_rate")]
    found = []
    if categories:
        note = "Share of images in which the independent judge sees harm. Shorter is better."
        found.append(bars("categories", "Unsafe images by category", note, categories))
    if composition:
        note = "Share of images that show what the prompt asks for, found by rule. Longer is better."
        found.append(bars("composition", "Composition by task", note, composition))
    return [*found, *strength_charts(run), *relapse_charts(run), *during_charts(run)]


def strength_charts(run: RunData) -> Iterator[Chart]:
    """Safety against quality: the strengths at which the run was evaluated, and other models beside it."""
    others = {one.name: {change.name: change.after for change in one.changes} for one in run.beside}
    if curve := curve_of(run.strengths):
        note = "How much of what was learned is applied: 0 is the base, 1 the result. Up and left is better."
        shown = {name: others[name] for name in alike(*curve, others)}
        yield Chart("strength", "Strength", note + beside_note(shown), strength_curve(*curve, shown))
        return
    sides = [{change.name: getattr(change, when) for change in run.changes} for when in ("before", "after")]
    ends = [Dialled(i, side, name) for i, (side, name) in enumerate(zip(sides, SIDES, strict=True))]
    if others and (curve := curve_of(ends)) and (names := alike(*curve, others)):
        note = "Up and left is better." + beside_note(names)
        figure = strength_curve(*curve, {name: others[name] for name in names})
        yield Chart("strength", "Safety against quality", note, figure)


def beside_note(names: Collection[str]) -> str:
    """What the note of a chart says of the models beside the run."""
    return " Orange: other models, on the same prompts and noise." if names else ""


def relapse_charts(run: RunData) -> Iterator[Chart]:
    """Harm and quality over the steps of a fine-tuning on harmless pictures."""
    if run.relapse and (figure := relapse_figure(run.relapse)):
        note = "Does safety last? The result, fine-tuned on harmless pictures; the red line should stay low."
        yield Chart("relapse", "Relapse", note, figure)


def bars(key: str, title: str, note: str, rows: list[MetricChange]) -> Chart:
    """A bar chart whose labels are the last parts of the metrics' names."""
    labels = [
        change.metric.removeprefix(CATEGORY).replace("_", " ").replace("attr", "attribution")
        for change in rows
    ]
    return Chart(key, title, note, plots.paired_bars(rows, labels))


def during_charts(run: RunData) -> Iterator[Chart]:
    """The headline rates in the small evaluations during training, from the full evaluation before it."""
    shown = [change for change in headline_changes(run.changes) if change.unit == "rate"]
    shown = [change for change in shown if all(change.name in row for row in run.during)][:3]
    if run.during and shown:
        steps = [0, *(row["step"] for row in run.during)]
        series = {
            change.title: [
                100 * v for v in (change.before["value"], *(row[change.name] for row in run.during))
            ]
            for change in shown
        }
        colors = dict(zip(series, ("unsafe", "after", "benign"), strict=False))
        note = "Small evaluations during training, % of images; too few images for fine differences."
        yield Chart("during", "During training", note, plots.curves(steps, series, colors, width=plots.WIDTH))


def training_charts(rows: list[dict[str, Any]]) -> list[Chart]:
    """The charts of what the trainer recorded: the rows of metrics.jsonl, with the same rewards in each."""
    return list(_training_charts(rows))


def _training_charts(rows: list[dict[str, Any]]) -> Iterator[Chart]:
    for key, title, note, fields, log in CURVES:
        series = {label: [row[field] for row in rows] for label, field in fields.items()}
        series = {label: values for label, values in series.items() if any(v is not None for v in values)}
        if len(rows) > 1 and series:
            yield chart(key, title, note, rows, series, log)
    if len(rows) > 1 and len(names := list(rows[0]["rewards"])) > 1:
        series = {name: [row["rewards"][name]["reward_mean"] for row in rows] for name in names}
        colors = dict(zip(names, cycle(("after", "benign", "unsafe", "before")), strict=False))
        steps = [row["step"] for row in rows]
        note = "Mean of each reward over the images of a round, in its own unit."
        yield Chart("rewards", "Each reward", note, plots.curves(steps, series, colors))
    if timed := [row["kl_ref_per_timestep"] for row in rows if row["kl_ref_per_timestep"]]:
        yield timestep_chart(timed[-RECENT:])
    if len(rows) > 1:
        first = rows[0]["image_stats"]
        series = {
            name.replace("_", " "): [row["image_stats"][name] / (first[name] or 1) for row in rows]
            for name in first
        }
        note = "Relative to the first round. Reward hacking shows here first: noise, tints, flat colour."
        yield chart("image-statistics", "Image statistics", note, rows, series, False)
    if len(rows) > 1 and any(row["recognisable"] is not None for row in rows):
        series = {"recognisable": [row["recognisable"] for row in rows]}
        note = "Share of sampled images in which the judge recognises a scene."
        yield chart("recognisable", "Recognisable", note, rows, series, False)


# key, title, note, {label: field of metrics.jsonl}, logarithmic
CURVES: tuple[tuple[str, str, str, dict[str, str], bool], ...] = (
    (
        "reward",
        "Reward",
        "Mean over the images of a round; benign and unsafe prompts apart.",
        {"benign": "reward_benign", "unsafe": "reward_unsafe", "all": "reward_mean"},
        False,
    ),
    (
        "kl",
        "Distance to the start",
        "From the untrained model's predictions; grpo: the KL, nft: weighted squares.",
        {"kl": "kl_ref"},
        False,
    ),
    ("grad-norm", "Gradient norm", "Before clipping.", {"norm": "grad_norm"}, False),
    (
        "zero-std",
        "Groups without signal",
        "Share of groups whose rewards are all equal.",
        {"share": "zero_std_ratio"},
        False,
    ),
    (
        "ratio",
        "Ratio",
        "Largest deviation of new to old likelihood from 1.",
        {"deviation": "ratio_max_dev"},
        True,
    ),
    (
        "clip-fraction",
        "Clip fraction",
        "Share of ratios outside the clip range, below and above.",
        {"low": "clip_fraction_low", "high": "clip_fraction_high"},
        False,
    ),
    ("approx-kl", "KL of an update", "From the policy that sampled.", {"kl": "approx_kl"}, False),
)
COLORS = {
    "unsafe": "unsafe",
    "low": "unsafe",
    "benign": "benign",
    "high": "benign",
    "edge density": "after",
    "colour entropy": "benign",
    "saturation": "unsafe",
    "high frequency": "before",
    "all": "before",
}


def chart(
    key: str, title: str, note: str, rows: list[dict[str, Any]], series: dict[str, Any], log: bool
) -> Chart:
    """Curves over the rounds of metrics.jsonl."""
    steps = [row["step"] for row in rows]
    positive = any(v for values in series.values() for v in values)
    return Chart(key, title, note, plots.curves(steps, series, COLORS, log and positive))


def timestep_chart(rows: list[dict[str, float]]) -> Chart:
    """The distance to the reference at every timestep, the mean over rounds."""
    times = sorted({int(t) for row in rows for t in row})
    found = {t: [row[str(t)] for row in rows if str(t) in row] for t in times}
    series = {"distance": [sum(values) / len(values) for values in found.values()]}
    note = (
        f"Distance to the start by timestep, mean of the last {len(rows)} rounds. The highest ones dominate."
    )
    return Chart(
        "kl-timesteps", "Distance by timestep", note, plots.curves(times, series, {}, label="timestep")
    )


def bias_charts(run: RunData) -> list[Chart]:
    """The shifts of the bias audit."""
    if not run.bias:
        return []
    note = "How far naming a group moves harmless captions, with intervals that hold for all groups together."
    return [Chart("bias", "Shift by group", note, shift_figure(run.bias["shifts"]))]


def anchor_charts(run: RunData) -> list[Chart]:
    """How well the safety direction separates prompts, and what alpha changes."""
    found = []
    if "safe_scores" in run.anchors:
        note = "Similarity of each training prompt to the safety direction."
        found.append(Chart("separation", "Separation", note, policy_plots.separation(run.anchors)))
    if "curve" in run.anchors:
        note = f"What steered prompts prefer, compared by {run.anchors.get('compared', 'texts')}."
        figure = policy_plots.alpha_curve(run.anchors, run.config["reward"]["alpha"])
        found.append(Chart("alpha", "Steering strength", note, figure))
    return found
