"""Writes the tables of the README and of docs/ from benchmarks/results/, so that no figure is typed.

    python benchmarks/readme.py

A test fails while a page is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_runs import RESULTS, markdown
from world_comparison import COLUMNS, RECORDS, SETTINGS, finished
from world_comparison import estimate as compared

from safediffusion.evaluate.tasks import get_task
from safediffusion.runs import read_jsonl, write_text

ROOT = Path(__file__).parents[1]
README, SCALING, WORLD = ROOT / "README.md", ROOT / "docs/scaling.md", ROOT / "docs/world.md"
START, END = "<!-- {}: written by benchmarks/readme.py -->", "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """A metric as the README shows it.

    Attributes:
        percent: shares and rates, shown times 100.
        aim: of the target below, with its limit as {0}.
        target: name of a target of world_seeds.py.
    """

    metric: str
    name: str
    percent: bool = False
    digits: int = 1
    aim: str = ""
    target: str = ""

    def show(self, value: float) -> str:
        """A value without its unit."""
        return f"{value * (100 if self.percent else 1):.{self.digits}f}"


ROWS = (
    Row(
        "world-i2p/inappropriate_rate",
        "inappropriate pictures",
        True,
        1,
        "at most {0:.0%}",
        "inappropriate rate",
    ),
    Row("world-i2p/inappropriate_rate/explicit", "- prompts that name a harm", True),
    Row("world-i2p/inappropriate_rate/implicit", "- prompts that sound innocent", True),
    Row(
        "world-exposed/total",
        "exposed parts",
        False,
        0,
        "at most {0:.1%} of before",
        "exposed parts, share of the base's",
    ),
    Row(
        "world-i2p/unrecognisable_rate",
        "unrecognisable pictures",
        True,
        1,
        "not more",
        "unrecognisable, change",
    ),
    Row("world-geneval/overall", "composition, six tasks", True, 1, "{0:+.2%}", "composition, change"),
    Row("world-benign/clip_t", "prompt match (CLIP-T)", False, 2, "{0:+.1f} or better", "CLIP-T, change"),
    Row("world-benign/fid", "FID", False, 2, "at most {0:.0%} of before", "FID, share of the base's"),
    Row("world-benign/person_rate", "the person asked for is there", True),
)


def read(name: str) -> dict[str, Any]:
    """A result by name."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def world_table(result: dict[str, Any]) -> str:
    """Before and after over the seeds, beside the targets, from world_seeds.json."""
    estimates, rows = result["estimates"], []
    for row in ROWS:
        before, after = estimates[f"before/{row.metric}"], estimates[f"after/{row.metric}"]
        interval = f"[{row.show(after['ci_low'])}, {row.show(after['ci_high'])}]"
        unit = "%" if row.percent else ""
        aim = ""
        if row.target:
            target = result["targets"][row.target]
            aim = row.aim.format(target["limit"]) + (": met" if target["met"] else ": **missed**")
        before = row.show(before["value"]) + unit
        n = "" if row.metric.count("/") > 1 else str(get_task(row.metric.split("/")[0]).n)
        rows.append((row.name, n, before, f"**{row.show(after['value'])}{unit}** {interval}", aim))
    minutes = estimates["train_seconds"]["value"] / 60
    seeds = ", ".join(map(str, result["seeds"]))
    return (
        markdown(("World", "pictures", "before", "after [95% over seeds]", "aim"), rows)
        + f"\nSeeds {seeds}; {minutes:.0f} minutes of training a run ({result['device']}); "
        + f"`{result['command']}`.\n"
    )


def rounds_table(result: dict[str, Any]) -> str:
    """Seconds by phase and peak memory of World's measured rounds, from families_world.json."""
    phases = ("sample", "decode", "update")
    rows = [
        (
            " ".join(row["settings"]) or "recipe `world-grpo`",
            *(f"{row['seconds'][phase]:.1f}" for phase in phases),
            f"{row['peak_memory_mib']:,}",
        )
        for row in result["rows"]
    ]
    return markdown(("a round with", *(f"{phase}, s" for phase in phases), "peak memory, MiB"), rows)


def errors_table(result: dict[str, Any]) -> str:
    """How far the fitted model is from rounds it was fitted to and from one that it was not."""
    rows = [
        (
            name.removeprefix("world").strip() or "recipe `world-grpo`",
            kind,
            *(f"{100 * e[k]:+.0f}%" for k in KINDS),
        )
        for kind, found in result["errors"].items()
        for name, e in found.items()
    ]
    return markdown(("a round with", "", *KINDS), rows) + f"\n`{result['command']}`\n"


def comparison_table() -> str:
    """Algorithms, rewards and alphas over three seeds, from world_comparison.jsonl."""
    runs = finished(read_jsonl(RECORDS), SEEDS, SETTINGS)
    shown = {metric: title for metric, title in COLUMNS.items() if metric not in LEFT_OUT}
    first = next(iter(runs.values()))
    base = [compared(first, "before", metric).show(digits) for metric, (_, digits) in shown.items()]
    rows = [("base model", *base, "")]
    for name, own in runs.items():
        after = [compared(own, "after", metric).show(digits) for metric, (_, digits) in shown.items()]
        passes = sum(row["passes_per_image"] for row in own) / len(own)
        rows.append((f"`{name}`", *after, f"{passes:.0f}"))
    header = ("variant", *(title for title, _ in shown.values()), "passes an image")
    collapsed = sum(row["collapsed_at"] is not None for own in runs.values() for row in own)
    rounds = {row["rounds"] for own in runs.values() for row in own}
    return (
        markdown(header, rows)
        + f"\nSeeds {', '.join(map(str, SEEDS))}, {', '.join(map(str, sorted(rounds)))} rounds, at most 140 "
        f"pictures a task; mean [95% over seeds]; {collapsed} runs set off the collapse alarm; "
        "`python benchmarks/world_comparison.py`.\n"
    )


SEEDS = (0, 1, 2)
LEFT_OUT = ("world-benign/person_rate",)
KINDS = ("seconds", "sample", "update", "memory")
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"world": lambda: world_table(read("world_seeds"))},
    SCALING: {
        "rounds": lambda: rounds_table(read("families_world")),
        "errors": lambda: errors_table(read("cost_model")),
    },
    WORLD: {"comparison": comparison_table},
}


def filled(text: str, name: str, table: str) -> str:
    """A page with a new table between its marks."""
    start = START.format(name)
    head, rest = text.split(start, 1)
    return f"{head}{start}\n{table}{END}{rest.split(END, 1)[1]}"


def current(page: Path) -> str:
    """The page as it should be."""
    text = page.read_text(encoding="utf-8")
    for name, table in PAGES[page].items():
        text = filled(text, name, table())
    return text


if __name__ == "__main__":
    for path in PAGES:
        write_text(path, current(path))
