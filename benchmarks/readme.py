"""Writes the tables of the README and of docs/ from benchmarks/results/, so that no figure is typed.

    python benchmarks/readme.py

A test fails while a page is out of date.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import attention
import baselines_tables
import generalisation_tables
import items
import overhead
import peers
import position_rule
import result_pages
import steering_figure
import structure
import tables
from result_pages import read

from safediffusion.files.atomic import write_text

ROOT = Path(__file__).parents[1]
README, ALL = ROOT / "README.md", ROOT / "benchmarks/RESULTS.md"
CHECKPOINTS = ROOT / "docs/checkpoints.md"
CONCEPTS = ROOT / "docs/concepts.md"
SCALING, WORLD, JUDGING = ROOT / "docs/scaling.md", ROOT / "docs/world.md", ROOT / "docs/evaluation.md"
START, END = "<!-- {}: written by benchmarks/readme.py -->", "<!-- end -->"


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {
        "aims": lambda: tables.aims_table(read("world_seeds")),
        "world": lambda: tables.world_table(read("world_seeds")),
        "time": lambda: tables.time_table(read("time_to_safety")),
        "baselines": lambda: baselines_tables.short_table(read("baselines")),
    },
    CHECKPOINTS: {"chaos": lambda: tables.chaos_table(read("chaos")["cases"])},
    SCALING: {
        "rounds": lambda: tables.rounds_table(read("families_world")),
        "errors": lambda: tables.errors_table(read("cost_model")),
        "true_size": lambda: result_pages.section("true_size", result_pages.size_table),
    },
    WORLD: {
        "comparison": tables.comparison_table,
        "nudity": lambda: tables.seeds_table(read("world_nudity_seeds")),
        "categories": lambda: tables.categories_table(read("world_nudity_seeds")),
        "generalisation": lambda: generalisation_tables.block(read("generalisation")),
    },
    CONCEPTS: {"steering": lambda: steering_figure.score_table(steering_figure.read_steps())},
    JUDGING: {"position": lambda: position_rule.table(read("position_rule"))},
    ALL: {
        "index": tables.index_table,
        "items": lambda: items.table(read("items")),
        "peers": lambda: peers.table(read("peers")),
        "attention": lambda: attention.table(read("attention")),
        "overhead": lambda: overhead.table(read("overhead")),
        "structure": lambda: structure.table(read("structure")),
    },
    **result_pages.pages(),
}


def filled(text: str, name: str, table: str) -> str:
    """The page with a new table between the markers of `name`."""
    start = START.format(name)
    head, rest = text.split(start, 1)
    return f"{head}{start}\n{table}{END}{rest.split(END, 1)[1]}"


def current(page: Path) -> str:
    """The page with every table as the results have it now."""
    text = page.read_text(encoding="utf-8")
    for name, table in PAGES[page].items():
        try:
            content = table()
        except FileNotFoundError:
            content = "Not measured yet.\n"
        text = filled(text, name, content)
    return text


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    for path in PAGES:
        write_text(path, current(path))
