"""The table and the plot of the baselines, from judgements as read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from generalisation_figures import undominated
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase
from training_runs import Estimate, markdown

from safediffusion.report.plots import LOOK, PALETTE, save_png

UNSAFE, ATTACK = "world-i2p/inappropriate_rate", "world-attack/inappropriate_rate"
UNRECOGNISABLE = "world-i2p/unrecognisable_rate"
COMPOSITION, CLIP_T = "world-geneval/overall", "world-benign/clip_t"
COLUMNS = {  # title, factor, digits
    UNSAFE: ("inappropriate, %", 100, 1),
    f"{UNSAFE}/explicit": ("explicit, %", 100, 1),
    f"{UNSAFE}/implicit": ("implicit, %", 100, 1),
    ATTACK: ("attack, %", 100, 1),
    "world-exposed/total": ("exposed parts", 1, 0),
    UNRECOGNISABLE: ("unrecognisable, %", 100, 1),
    COMPOSITION: ("composition, %", 100, 1),
    CLIP_T: ("CLIP-T", 1, 1),
    "world-benign/fid": ("FID", 1, 2),
    "world-benign/person_rate": ("person there, %", 100, 1),
}
IMAGES = {
    "world-i2p": 280,
    "world-attack": 100,
    "world-exposed": 100,
    "world-geneval": 240,
    "world-benign": 140,
}
TUNING = {"world-i2p": 84, "world-attack": 20, "world-exposed": 20, "world-geneval": 90, "world-benign": 60}
SHORT = {"world-i2p": 28, "world-attack": 10, "world-exposed": 10, "world-geneval": 24, "world-benign": 14}
NAMED = 0.75  # of the base's unsafe share


@dataclass(frozen=True)
class Line:
    """A method with its settings, summed up.

    Attributes:
        method, settings: which settings they are, as in "default".
        made: the settings themselves.
        seeds: of its making; 0 if nothing of it is left to chance.
        values: by metric, with an interval over seeds, or over pictures where there is one making.
        passes: rows that the network computes for a picture.
        seconds: to make it, on average.
    """

    method: str
    settings: str
    made: str
    seeds: int
    values: dict[str, Estimate]
    passes: int
    seconds: float

    @classmethod
    def of(cls, method: str, settings: str, rows: Sequence[dict[str, Any]]) -> Line:
        """From one judgement, or one per seed."""
        first, by_chance = rows[0], rows[0]["seed"] is not None
        return cls(
            method=method,
            settings=settings,
            made=first["settings"],
            seeds=len(rows) if by_chance else 0,
            values={metric: estimate([row["metrics"][metric] for row in rows]) for metric in COLUMNS},
            passes=first["passes"],
            seconds=sum(row["seconds"] for row in rows) / len(rows),
        )

    @property
    def name(self) -> str:
        """The method, and its settings where they are not the default ones."""
        return self.method if self.settings == "default" else f"{self.method}, tuned"

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


def estimate(found: Sequence[dict[str, Any]]) -> Estimate:
    """Over seeds; of one making, with the interval over its pictures."""
    if len(found) > 1:
        return Estimate.of([each["value"] for each in found])
    (only,) = found
    return Estimate(only["value"], only["ci_low"], only["ci_high"], [only["value"]])


def line_of(read: dict[str, Any]) -> Line:
    """A line as read back from the JSON."""
    values = {metric: Estimate(**value) for metric, value in read["values"].items()}
    return Line(**{**read, "values": values})


def table(result: dict[str, Any]) -> str:
    """One row per method and settings, and what the table means."""
    lines = [line_of(each) for each in result["lines"]]
    header = ["method", *(title for title, *_ in COLUMNS.values()), "seconds to make", "passes", "seeds"]
    rows = [
        [
            line.name,
            *(show(line.values[metric], factor, digits) for metric, (_, factor, digits) in COLUMNS.items()),
            f"{line.seconds:.0f}",
            str(line.passes),
            str(line.seeds or "-"),
        ]
        for line in lines
    ]
    return "\n".join([markdown(header, rows), *(f"- {line.name}: `{line.made}`" for line in lines), ""])


def short_table(result: dict[str, Any]) -> str:
    """The columns that a reader compares first, the best settings of each method alone."""
    lines = {line.method: line for line in map(line_of, result["lines"])}  # tuned ones come last
    titles = {UNSAFE: 1, UNRECOGNISABLE: 1, "world-exposed/total": 0, COMPOSITION: 1, CLIP_T: 1}
    header = ["method", *(COLUMNS[metric][0] for metric in titles), "seconds to make", "passes"]
    rows = [
        [
            line.name,
            *(show(line.values[metric], COLUMNS[metric][1], digits) for metric, digits in titles.items()),
            f"{line.seconds:.0f}",
            str(line.passes),
        ]
        for line in lines.values()
    ]
    return markdown(header, rows)


def show(found: Estimate, factor: float, digits: int) -> str:
    """A value with its interval, times a factor."""
    return scaled(found, factor).show(digits)


def scaled(found: Estimate, factor: float) -> Estimate:
    """An estimate in another unit."""
    low, high = (None if bound is None else factor * bound for bound in (found.ci_low, found.ci_high))
    return Estimate(factor * found.value, low, high, [factor * value for value in found.seeds])


def plot(lines: Sequence[Line], path: Path) -> None:
    """Composition and prompt match over the unsafe share; undominated methods in colour.

    A method is left out if most of its images show nothing recognisable: they are neither unsafe nor safe.
    """
    lines = [line for line in lines if line.values[UNRECOGNISABLE].value <= 0.5]
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        figure = Figure(figsize=(9.2, 4.2))
        for axes, key in zip(figure.subplots(1, 2), (COMPOSITION, CLIP_T), strict=True):
            draw(axes, lines, key)
    save_png(figure, path)


def draw(axes: Axes, lines: Sequence[Line], key: str) -> None:
    """One plot, with the intervals of both axes; methods that leave most of the harm have no name in it."""
    places = {line.name: (line.values[UNSAFE].value, line.values[key].value) for line in lines}
    best, base = undominated(places), COLUMNS[UNSAFE][1] * places[lines[0].name][0]
    points: dict[str, tuple[float, float]] = {}
    for line in lines:
        (x, x_error), (y, y_error) = (
            bar(line.values[metric], COLUMNS[metric][1]) for metric in (UNSAFE, key)
        )
        color = PALETTE["after" if line.name in best else "before"]
        axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="o", color=color, markersize=4, linewidth=0.6)
        if line.name in best or x <= NAMED * base:
            points[line.name] = (x, y)
    axes.set(xlabel=COLUMNS[UNSAFE][0], ylabel=COLUMNS[key][0])
    axes.autoscale_view()
    taken: list[BboxBase] = []
    for name in sorted(points, key=lambda name: name not in best):
        write_name(axes, name, points[name], PALETTE["ink" if name in best else "muted"], taken)


def write_name(axes: Axes, name: str, at: tuple[float, float], color: str, taken: list[BboxBase]) -> None:
    """A name beside its point, where it covers no other one; none where there is no such place."""
    for x, y in ((4, 3), (4, -9), (-4, 3), (-4, -9)):
        text = axes.annotate(
            name, at, xytext=(x, y), textcoords="offset points", ha="left" if x > 0 else "right",
            fontsize=7, color=color,
        )  # fmt: skip
        box = text.get_window_extent()
        if not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return
        text.remove()


def bar(found: Estimate, factor: float) -> tuple[float, list[list[float]]]:
    """A value times a factor, and how far its interval reaches down and up."""
    one = scaled(found, factor)
    ends = (one.value if bound is None else bound for bound in (one.ci_low, one.ci_high))
    return one.value, [[abs(end - one.value)] for end in ends]
