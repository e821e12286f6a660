"""The command line of benchmarks that measure rounds of recipes in this process."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import Any

from training_runs import write_result

from safediffusion.system.device import device_name, pick_device

RECIPES = ("world", "world-grpo")


def main(
    name: str,
    about: str,
    measure: Callable[[str, int, list[str]], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Measure, write results/NAME.json and print its table.

    Args:
        name: of the script and of the result.
        about: one line for `--help`.
        measure: a row of a recipe, from its name, the rounds that count, and settings.
        table: of the result.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=4, help="rounds that count, after one that does not")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", dest="settings")
    words = parser.parse_args()
    result = {
        "command": shlex.join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]),
        "rounds": words.rounds,
        "device": device_name(pick_device()),
        "rows": [measure(recipe, words.rounds, words.settings) for recipe in words.recipes],
    }
    path = write_result(name, result)
    print(f"\n{table(result)}\n{path}")
