"""Writes the plans of the shipped recipes: into the pages of docs/families, and into the recipes' headers.

    python docs/plans.py [RECIPE]...     # all by default; up to half a minute each

A plan is what `safediffusion train RECIPE --dry-run` prints under the settings, without the lines about this
machine. Where benchmarks/results has a measured round of a recipe, the page says so below its plan. A test
counts most recipes anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from safediffusion.config import list_recipes, load_config, recipe_path
from safediffusion.run.plan import Plan, preview

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "families").glob("*.md"))
WIDTH = 125  # of a line of a page
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(
    r"(`safediffusion train (?P<recipe>\S+) --dry-run` \(estimate\):\n\n```text\n).*?(?P<end>```\n)"
    r"(\nMeasured[^\n]*(\n[^\n]+)*\n)?",
    re.DOTALL,
)
HEADER = re.compile(
    r"# Needs \(estimate\): bfloat16, and .*?\n# Expect \(estimate\): .*?,\n# at .*?(?= and without eval)",
    re.DOTALL,
)


def planned_recipes() -> list[str]:
    """The recipes whose plans are shown: those of real models."""
    return [name for name in list_recipes() if not name.startswith("world")]


def filled_page(page: str, recipe: str, plan: Plan, measured: Sequence[str] = ()) -> str:
    """A page with the plan of a recipe, and what was measured of it."""

    def block(found: re.Match[str]) -> str:
        if found["recipe"] != recipe:
            return found[0]
        below = "".join(
            f"\n{fill(f'Measured, {line}', WIDTH, break_on_hyphens=False)}\n" for line in measured
        )
        return f"{found[1]}{plan}\n{found['end']}{below}"

    return BLOCK.sub(block, page)


def filled_header(text: str, plan: Plan) -> str:
    """A recipe's file with memory and hours of its plan in the header."""
    header = (
        f"# Needs (estimate): bfloat16, and {plan.needed}.\n"
        f"# Expect (estimate): {plan.expected},\n# {plan.basis}"
    )
    return HEADER.sub(lambda _: header, text)


def measured_rounds(recipe: str, results: Path = RESULTS) -> Iterator[str]:
    """What benchmarks/results has of a recipe, one sentence each.

    Args:
        recipe: its name.
        results: the folder of true_size.json and families_full.json.
    """
    for row, device, command in rows_of(results / "true_size.json", "model", recipe):
        taken = row["measured"] - row["imports"]
        yield (
            f"`{command}` on {device}, with `{' '.join(row['settings'])}`: {taken:,.0f} MiB, where the plan "
            f"of these settings says {row['planned']:,.0f}."
        )
    for row, device, command in rows_of(results / "families_full.json", "recipe", recipe):
        changed = f", with `{' '.join(row['settings'])}`" if row["settings"] else ""
        yield (
            f"`{command}` on {device}{changed}: {row['peak_memory_mib']:,.0f} MiB and "
            f"{sum(row['seconds'].values()):,.1f} seconds per round."
        )


def rows_of(path: Path, key: str, recipe: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """The rows of a result that are of a recipe, with device and command."""
    if not path.exists():
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        if row.get(key) == recipe:
            yield row, content["env"]["device"], content["command"]


def write(recipe: str) -> None:
    """Count a recipe and write its plan wherever it is shown."""
    plan = preview(load_config(recipe))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if f"safediffusion train {recipe} --dry-run" in text:
            page.write_text(filled_page(text, recipe, plan, [*measured_rounds(recipe)]), encoding="utf-8")
    path = recipe_path(recipe)
    path.write_text(filled_header(path.read_text(encoding="utf-8"), plan), encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or planned_recipes():
        write(name)
        print(name, flush=True)
