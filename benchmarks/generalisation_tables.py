"""The table of the study of unseen categories, from the records of its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from training_runs import Estimate, markdown

from safediffusion.world.scenes import CATEGORIES

Values = dict[str, float]
UNSAFE = "world-i2p/inappropriate_rate"
UNRECOGNISABLE = "world-i2p/unrecognisable_rate"
CLIP_T, FID, COMPOSITION = "world-benign/clip_t", "world-benign/fid", "world-geneval/overall"
METRICS = (
    *(f"{UNSAFE}/{category}" for category in CATEGORIES), UNRECOGNISABLE, CLIP_T, FID, COMPOSITION,
)  # fmt: skip
KINDS = ("explicit", "implicit")
COLUMNS = {  # digits
    "trained": ("trained", 2),
    "unseen": ("unseen", 2),
    "unseen/explicit": ("unseen, explicit", 2),
    "unseen/implicit": ("unseen, implicit", 2),
    "clip_t": ("CLIP-T, change", 2),
    "fid": ("FID, share", 2),
    "composition": ("composition, change", 3),
    "unrecognisable": ("unrecognisable", 3),
}
EXACT = ("unseen", "clip_t", "composition")  # shown with their interval


@dataclass(frozen=True)
class Run:
    """A finished run: the categories it was trained on, and the metrics before and after."""

    trained: tuple[str, ...]
    before: Values
    after: Values

    @classmethod
    def of(cls, row: dict[str, Any]) -> Run:
        """From its record."""
        return cls(tuple(row["trained"]), row["before"], row["after"])

    @property
    def unseen(self) -> tuple[str, ...]:
        """The categories of World that no prompt was trained on."""
        return tuple(category for category in CATEGORIES if category not in self.trained)

    def share(self, names: Sequence[str]) -> float | None:
        """The mean of metrics after training, as a share of that before; None where that is 0."""
        before = fmean(self.before[name] for name in names)
        return fmean(self.after[name] for name in names) / before if before else None

    def change(self, name: str) -> float:
        """A metric after training minus before."""
        return self.after[name] - self.before[name]


def harm_of(category: str, kind: str) -> str:
    """The name of the rate of harm in images of one category's explicit or implicit prompts."""
    return f"harm/{category}/{kind}"


def rates(categories: Sequence[str]) -> list[str]:
    """The names of the rates of inappropriate images of categories."""
    return [f"{UNSAFE}/{category}" for category in categories]


QUANTITIES: dict[str, Callable[[Run], float | None]] = {
    "trained": lambda run: run.share(rates(run.trained)),
    "unseen": lambda run: run.share(rates(run.unseen)),
    **{
        f"unseen/{kind}": lambda run, kind=kind: run.share([harm_of(each, kind) for each in run.unseen])
        for kind in KINDS
    },
    "clip_t": lambda run: run.change(CLIP_T),
    "fid": lambda run: run.share([FID]),
    "composition": lambda run: run.change(COMPOSITION),
    "unrecognisable": lambda run: run.after[UNRECOGNISABLE],
    **{
        f"category/{category}": lambda run, category=category: run.share(rates([category]))
        for category in CATEGORIES
    },
}


def summed_up(runs: Sequence[Run]) -> dict[str, dict[str, Any] | None]:
    """Every quantity over the seeds of a cell; None where a base of 0 leaves no share."""
    found = {}
    for name, value in QUANTITIES.items():
        each = [value(run) for run in runs]
        known = [one for one in each if one is not None]
        found[name] = asdict(Estimate.of(known)) if len(known) == len(each) else None
    return found


def shown(estimate: dict[str, Any] | None, digits: int, exact: bool) -> str:
    """A mean, with its interval where it is exact; a dash where there is none."""
    if estimate is None:
        return "-"
    found = Estimate(**estimate)
    return found.show(digits) if exact else f"{found.value:.{digits}f}"


def table(result: dict[str, Any]) -> str:
    """One row per cell, and how to read it."""
    rows = []
    for name, cell in result["cells"].items():
        found = cell["estimates"]
        values = [shown(found[key], digits, key in EXACT) for key, (_, digits) in COLUMNS.items()]
        rows.append((f"`{name}`", ", ".join(cell["trained"]), *values))
    header = ("cell", "trained on", *(title for title, _ in COLUMNS.values()))
    images = ", ".join(f"{n} images of {task}" for task, n in sorted(result["images"].items()))
    return (
        markdown(header, rows)
        + "\nTrained and unseen: mean rate of inappropriate images of these categories, as a share of the "
        f"base model's. Seeds {', '.join(map(str, result['seeds']))}; mean [95% over seeds]; {images}; "
        f"`{result['command']}`; the cells' settings are in `benchmarks/generalisation_cells.py`.\n"
    )


def block(result: dict[str, Any]) -> str:
    """The table and the figures, for the documentation."""
    return (
        table(result)
        + "\n![Heat map: a row per cell, a column per category of harm; each value is the category's share "
        "of the base model's rate, and trained categories are framed.](images/generalisation.png)\n"
        "\n![Two plots of cells by their unseen share: the change of composition and of CLIP-T over it; "
        "cells that no other one beats in both are named.](images/frontier-generalisation.png)\n"
    )
