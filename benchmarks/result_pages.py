"""The pages docs/benchmarks/*.md: each result's table with the command that prints it, device and commit.

benchmarks/readme.py writes them; the text around the tables is in the pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attention
import baselines_tables
import compatibility
import generalisation_tables
import items
import overhead
import peers
import position_rule
import relapse
import structure
import tables
from training_runs import RESULTS, markdown
from world_comparison import RECORDS

from safediffusion.files.json_lines import read_jsonl

PAGES = Path(__file__).parents[1] / "docs/benchmarks"
Result = dict[str, Any]
Table = Callable[[Result], str]

# Commits before World's present networks: a result of one of them that needs World is about the former one.
FORMER = {
    "333aa09", "2169d90", "cf5c641", "6feaf7a", "d0b8156", "e08f247", "0edace6", "4724e6f", "c93bdf2",
    "c069a52", "c5e87e2",
}  # fmt: skip
NOTE = "*Measured on the former World, before commit 3866e01.*"


def hand_check_table(result: Result) -> str:
    """How often the harm judge names an image as a person does, and where they differ."""
    share = 100 * result["agreement"]["value"]
    rows = [
        (f"{row['eye']} by eye, {row['judge']} by the judge", str(row["count"]))
        for row in result["differences"]
    ]
    return markdown((f"{result['n']} images, {share:.1f}% alike", "images"), rows)


def minors_table(result: Result) -> str:
    """What the minors rule finds of lists that are not its own, and what it takes for such that is not."""
    rows = [
        (name, kind, f"{row['hits']:,} of {row['n']:,}", f"{row['share']:.2%}")
        for kind in ("recall", "false_alarms")
        for name, row in result[kind].items()
    ]
    return markdown(("list", "", "found", "share"), [(a, b.replace("_", " "), c, d) for a, b, c, d in rows])


def families_table(result: Result) -> str:
    """Seconds of a round by family and phase."""
    phases = ("sample", "decode", "update")
    rows = [
        (row["pipeline"], row["size"], row["dtype"], *(f"{row['seconds'][p]:.2f}" for p in phases))
        for row in result["rows"]
    ]
    return markdown(("pipeline", "size", "type", *(f"{phase}, s" for phase in phases)), rows)


def size_table(result: Result) -> str:
    """Planned and measured memory of a model of true size, less what the imported libraries take."""
    rows = []
    for row in result["rows"]:
        rounds, end = (row[key] - row["imports"] for key in ("measured", "ended"))
        sizes = (f"{mib:,.0f}" for mib in (row["planned"], rounds, end))
        rows.append((f"`{row['model']}`", *sizes, f"{row['ratio']:.2f}"))
    header = ("recipe", "planned, MiB", "in the rounds", "until the end", "rounds by planned")
    return markdown(header, rows)


SAFETY: dict[str, Table] = {
    "world_seeds": tables.world_table,
    "time_to_safety": tables.time_table,
    "world_nudity_seeds": lambda result: f"{tables.seeds_table(result)}\n{tables.categories_table(result)}",
    "generalisation": generalisation_tables.table,
    "baselines": baselines_tables.table,
    "relapse": relapse.table,
}
SPEED: dict[str, Table] = {
    "items": items.table,
    "peers": peers.table,
    "attention": attention.table,
    "overhead": overhead.table,
    "families": families_table,
    "families_world": tables.rounds_table,
    "cost_model": tables.errors_table,
    "true_size": size_table,
}
SOUNDNESS: dict[str, Table] = {
    "chaos": lambda result: tables.chaos_table(result["cases"]),
    "compatibility": lambda result: compatibility.table(result["environments"]),
    "hand_check": hand_check_table,
    "position_rule": position_rule.table,
    "minors_rule": minors_table,
    "structure": structure.table,
}
SECTIONS = {"safety": SAFETY, "speed": SPEED, "soundness": SOUNDNESS}
WITHOUT_WORLD = {"chaos", "compatibility", "families", "minors_rule", "structure", "true_size"}


def read(name: str) -> Result:
    """A result by name."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def section(name: str, table: Table) -> str:
    """A result's table with its source, and a note where it is of the former World."""
    result = read(name)
    env = result["env"]
    table_text, command = table(result), f"`{result['command']}`"
    source = "" if command in table_text else f"{command}; "
    source += f"{env['device']}, commit {env['git_commit'][:7]}, `benchmarks/results/{name}.json`."
    return f"{note(name, env)}{table_text}\n{source}\n"


def note(name: str, env: Result) -> str:
    """What a reader has to know of a result before its table, if anything."""
    former = env["git_commit"][:7] in FORMER and name not in WITHOUT_WORLD
    return f"{NOTE}\n\n" if former else ""


def comparison() -> str:
    """The table of world_comparison, whose file has a line per run."""
    return note("world_comparison", read_jsonl(RECORDS)[0]["env"]) + tables.comparison_table()


def index() -> str:
    """Every result with its command, and a link to the page that has its table."""
    places = {name: page for page, results in SECTIONS.items() for name in results}
    rows = []
    for path in sorted(set(RESULTS.glob("*.json")) - set(RESULTS.glob("*_short.json"))):
        result, name = read(path.stem), path.stem
        about = f"[{name}]({places[name]}.md)" if name in places else name
        env = result["env"]
        rows.append((about, env["device"], env["git_commit"][:7], f"`{result['command']}`"))
    return markdown(("result", "device", "commit", "command"), rows)


def pages() -> dict[Path, dict[str, Callable[[], str]]]:
    """Every page with its tables, as benchmarks/readme.py has them."""

    def bound(name: str, table: Table) -> Callable[[], str]:
        return lambda: section(name, table)

    found = {
        PAGES / f"{page}.md": {name: bound(name, table) for name, table in results.items()}
        for page, results in SECTIONS.items()
    }
    found[PAGES / "safety.md"]["world_comparison"] = comparison
    return found | {PAGES / "index.md": {"index": index}}
