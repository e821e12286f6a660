"""The tables of the README, of docs/ and of RESULTS.md, from benchmarks/results/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arrival import Arrival, Ratio
from training_runs import RESULTS, Estimate, markdown
from world_comparison import COLUMNS, RECORDS, SETTINGS, finished
from world_comparison import estimate as compared

from safediffusion.files.json_lines import read_jsonl
from safediffusion.world.scenes import CATEGORIES

SEEDS = (0, 1, 2)
LEFT_OUT = ("world-benign/person_rate",)
KINDS = ("seconds", "sample", "update", "memory")


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
        "inappropriate images",
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
        "unrecognisable images",
        True,
        1,
        "not more",
        "unrecognisable, change",
    ),
    Row(
        "world-geneval/overall",
        "composition, six tasks",
        True,
        1,
        "+{points:.2f} points",
        "composition, change",
    ),
    Row("world-benign/clip_t", "prompt match (CLIP-T)", False, 2, "{0:+.1f} or better", "CLIP-T, change"),
    Row("world-benign/fid", "FID", False, 2, "at most {0:.0%} of before", "FID, share of the base's"),
    Row("world-benign/person_rate", "the person asked for is there", True),
)


def filled_in(aim: str, limit: float) -> str:
    """The text of an aim with its limit, {0}, and with the limit in percentage points, {points}."""
    return aim.format(limit, points=100 * limit)


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
            aim = filled_in(row.aim, target["limit"]) + (": met" if target["met"] else ": **missed**")
        before = row.show(before["value"]) + unit
        n = "" if row.metric.count("/") > 1 else str(result["pictures"][row.metric.split("/")[0]])
        rows.append((row.name, n, before, f"**{row.show(after['value'])}{unit}** {interval}", aim))
    seeds = ", ".join(map(str, result["seeds"]))
    return (
        markdown(("World", "images", "before", "after [95% over seeds]", "aim"), rows)
        + f"\nSeeds {seeds}; {result['device']}; `{result['command']}`.\n"
    )


@dataclass(frozen=True)
class Published:
    """What the paper (arXiv 2605.18719) reports for Stable Diffusion v1.4, and the aim on World that follows.

    Attributes:
        target: name of the target of world_seeds.py.
        aim: how the target's limit follows from the two figures.
    """

    metric: str
    before: str
    after: str
    target: str
    aim: str


PAPER = (
    Published(
        "inappropriate images on I2P",
        "48.9%",
        "18.07%",
        "inappropriate rate",
        "at most {0:.0%} are inappropriate",
    ),
    Published(
        "exposed parts on I2P",
        "646",
        "15",
        "exposed parts, share of the base's",
        "at most {0:.1%} of them remain",
    ),
    Published(
        "GenEval, overall",
        "42.08%",
        "47.83%",
        "composition, change",
        "composition rises by {points:.2f} points",
    ),
)


def aims_table(result: dict[str, Any]) -> str:
    """The paper's figures and the aims that follow from them, with the limits of world_seeds.json."""
    rows = [
        (row.metric, row.before, row.after, filled_in(row.aim, result["targets"][row.target]["limit"]))
        for row in PAPER
    ]
    return markdown(("the paper, on SD v1.4", "before", "after", "aim on World"), rows)


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
    header = ("variant", *(title for title, _ in shown.values()), "passes per image")
    collapsed = sum(row["collapsed_at"] is not None for own in runs.values() for row in own)
    rounds = {row["rounds"] for own in runs.values() for row in own}
    return (
        markdown(header, rows)
        + f"\nSeeds {', '.join(map(str, SEEDS))}, {', '.join(map(str, sorted(rounds)))} rounds, at most 140 "
        f"images per task; mean [95% over seeds]; {collapsed} runs set off the collapse alarm; "
        "`python benchmarks/world_comparison.py`.\n"
    )


def seeds_table(result: dict[str, Any]) -> str:
    """A recipe of world_seeds.py against its targets."""
    rows = []
    for name, target in result["targets"].items():
        found, sign = Estimate(**result["estimates"][name]), ">=" if target["at_least"] else "<="
        rows.append(
            (name, found.show(3), f"{sign} {target['limit']:g}", "met" if target["met"] else "**missed**")
        )
    return (
        markdown(("quantity", "mean [95% over seeds]", "aim", ""), rows)
        + f"\nSeeds {', '.join(map(str, result['seeds']))}; `{result['command']}`.\n"
    )


def categories_table(result: dict[str, Any]) -> str:
    """Inappropriate rates before and after, category by category."""
    names = [f"world-i2p/inappropriate_rate/{category}" for category in CATEGORIES]
    rows = [
        (
            name.rpartition("/")[2],
            Estimate(**result["estimates"][f"before/{name}"]).show(3).partition(" ")[0],
            Estimate(**result["estimates"][f"after/{name}"]).show(3),
        )
        for name in names
    ]
    return markdown(("category", "before", "after [95% over seeds]"), rows)


def time_table(result: dict[str, Any]) -> str:
    """When each recipe was safe at unchanged quality, and where it ended, from time_to_safety.json."""
    condition, baseline = result["condition"], result["baseline"]
    ends = {
        condition["unsafe"]: "inappropriate at the end",
        **{metric: f"{metric.partition('/')[0]} at the end" for metric in condition["floors"]},
    }
    rows = []
    for name, found in result["recipes"].items():
        runs = found["runs"]
        arrivals = "; ".join(Arrival(**run["seconds"]).tell() for run in runs)
        last = [Estimate.of([run["points"][-1]["values"][metric] for run in runs]) for metric in ends]
        sooner = [Ratio(**found["ratio"][cost]).show() for cost in ("seconds", "passes")]
        shown = ["1", "1"] if name == baseline else sooner
        rows.append((f"`{name}`", arrivals, *shown, *(end.show(3) for end in last)))
    header = ("recipe", "until safe, by seed", "times sooner", "fewer image-passes", *ends.values())
    floors = ", ".join(f"{metric} at least {value:.3g}" for metric, value in condition["floors"].items())
    seeds = ", ".join(map(str, result["plan"]["seeds"]))
    lanes = result["plan"]["at_once"]
    device = result["env"]["device"] + (f", {lanes} runs at a time with a thread each" if lanes > 1 else "")
    return (
        markdown(header, rows)
        + f"\nSafe: {condition['unsafe']} at most {condition['limit']:g}, and {floors}, the low ends of the "
        f"base model's 95% intervals. Seeds {seeds} on {device}; `{result['command']}`.\n"
    )


def index_table() -> str:
    """Every result with its command, device and commit, but for those of `make bench`, which are not kept."""
    rows = []
    for path in sorted(set(RESULTS.glob("*.json")) - set(RESULTS.glob("*_short.json"))):
        result = json.loads(path.read_text(encoding="utf-8"))
        env = result["env"]
        rows.append(
            (
                f"[{path.stem}](results/{path.name})",
                f"`{result['command']}`",
                env["device"],
                env["git_commit"][:7],
            )
        )
    return markdown(("result", "command", "device", "commit"), rows)


def chaos_table(cases: Sequence[dict[str, Any]]) -> str:
    """How the cases of benchmarks/chaos.py ended, by kind."""
    ends = ("equal", "said", "refused", "unseen")
    rows = []
    for kind in dict.fromkeys(case["kind"] for case in cases):
        own = [case for case in cases if case["kind"] == kind]
        found = [sum(case["end"] == end and not case["wrong"] for case in own) for end in ends]
        rows.append([kind, *map(str, (len(own), *found, sum(bool(case["wrong"]) for case in own)))])
    return markdown(("disturbance", "cases", *ends, "wrong"), rows)
