"""Fit the cost model of docs/scaling.md to measured rounds, check it on those left out, predict a run.

    python benchmarks/families.py --full --keep             # once per setting; rows add up
    python benchmarks/families.py --full sd14 --keep --set rollout.steps=10 model.resolution=256
    python benchmarks/cost_model.py fit --hold-out "sd14 rollout.steps=10 model.resolution=256"
    python benchmarks/cost_model.py predict sd14 --devices 8 --set model.resolution=512

`fit` reads benchmarks/results/families_full.json and writes benchmarks/results/cost_model.json: coefficients
for the device of those rows, and the error on the rows that were held out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cost import Measured, errors, fit, from_row, predict
from training_runs import RESULTS, markdown, write_result

from safediffusion.config import load_config
from safediffusion.run.model_cost import planned_cost
from safediffusion.run.workload import Work, count_work

MODEL = RESULTS / "cost_model.json"
COLUMNS = ("seconds", "sample", "decode", "score", "update", "memory")


def read_points(path: Path) -> tuple[str, list[Measured]]:
    """Device and measured rounds of a result of benchmarks/families.py."""
    if not path.exists():
        sys.exit(f"{path} is missing; measure it with benchmarks/families.py --full --keep")
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["env"]["device"], [from_row(row) for row in content["rows"]]


def part(points: Sequence[Measured], held_out: Sequence[str]) -> tuple[list[Measured], list[Measured]]:
    """The measured rounds to fit, and those held out to check the fit."""
    names = [point.name for point in points]
    if strangers := set(held_out) - set(names):
        sys.exit(f"no measured round is called {', '.join(sorted(strangers))}; there are: {'; '.join(names)}")
    held = [point for point in points if point.name in held_out]
    return [point for point in points if point.name not in held_out], held


def fitted(path: Path, held_out: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The content of cost_model.json, and a table of errors."""
    device, points = read_points(path)
    used, held = part(points, held_out)
    try:
        coefficients = fit(used)
    except ValueError as error:
        sys.exit(f"{error}; measure more settings with benchmarks/families.py --full --keep")
    checked = {
        kind: {point.name: errors(point, predict(point.work, coefficients)) for point in own}
        for kind, own in (("fitted", used), ("held out", held))
    }
    rows = [
        (name, kind, *(f"{100 * own[column]:+.0f}%" if column in own else "-" for column in COLUMNS))
        for kind, found in checked.items()
        for name, own in found.items()
    ]
    content = {"device": device, "coefficients": coefficients, "errors": checked}
    return content, markdown(("round", "", *COLUMNS), rows)


def work_of(recipe: str, settings: Sequence[str], devices: int) -> tuple[Work, int]:
    """The work of one round of a recipe, and the number of its rounds."""
    config = load_config(recipe, list(settings))
    _, model = planned_cost(config.model, config.train.lora_rank, config.train.recompute)
    return count_work(config, model, devices), config.train.steps


def describe(recipe: str, settings: Sequence[str], devices: int) -> str:
    """What a run would take, by the fitted model."""
    if not MODEL.exists():
        sys.exit(f"{MODEL} is missing: the model has not been fitted on this machine; see docs/scaling.md")
    model = json.loads(MODEL.read_text(encoding="utf-8"))
    work, rounds = work_of(recipe, settings, devices)
    found = predict(work, model["coefficients"])
    phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in found.seconds.items())
    lines = [
        f"fitted on         {model['device']}",
        f"seconds per round {found.total:.2f} ({phases})",
        f"hours, {rounds} rounds {found.total * rounds / 3600:.2f}; evaluations come on top",
        f"device-hours      {found.total * rounds * devices / 3600:.2f} on {devices}",
        f"memory, peak      {found.peak_mib:,.0f} MiB a device",
    ]
    if found.left_out:
        lines.append(f"left out, never measured: {', '.join(found.left_out)}")
    return "\n".join(lines)


def main() -> None:
    """Fit the coefficients, or predict a run."""
    parser = argparse.ArgumentParser(description="Fit and use the cost model of docs/scaling.md.")
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit", help="coefficients from measured rounds")
    fitting.add_argument("--rows", type=Path, default=RESULTS / "families_full.json")
    fitting.add_argument("--hold-out", nargs="+", default=[], metavar="ROUND", help="rounds to check on")
    asking = commands.add_parser("predict", help="what a recipe would take")
    asking.add_argument("recipe")
    asking.add_argument("--devices", type=int, default=1)
    asking.add_argument("--set", nargs="+", default=[], metavar="key=value", dest="settings")
    words = parser.parse_args()
    if words.command == "predict":
        print(describe(words.recipe, words.settings, words.devices))
        return
    content, table = fitted(words.rows, words.hold_out)
    print(table)
    command = f"python benchmarks/cost_model.py {shlex.join(sys.argv[1:])}"
    print(write_result(MODEL.stem, {"command": command, **content}))


if __name__ == "__main__":
    main()
