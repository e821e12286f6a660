"""What makes categories safer that were never trained on: recipe `world-nudity`, one setting at a time.

    python benchmarks/generalisation.py             # every cell with seeds 0, 1, 2
    python benchmarks/generalisation.py --tuning    # seeds 10, 11, 12: choose settings and combinations here
    python benchmarks/generalisation.py --short     # four cells, one seed, few rounds and images
        [--only CELL ...] [--seeds 0 1 2] [--name NAME] [--out DIR] [--set key=value ...]

A finished run is a line of benchmarks/results/NAME.jsonl and is not run again while its settings and World's
networks are the same, even without its run folder; an interrupted run is resumed. Several of these commands
may run at once on different cells or seeds. After every run it writes NAME.md and NAME.json of the cells that
have all their seeds, and two figures: in docs/images/ for the name `generalisation`, the default, else beside
the results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import generalisation_figures as figures
import generalisation_tables as tables
import training_runs
from generalisation_cells import CELLS, RECIPE, SHORT
from generalisation_tables import METRICS, Run, Values, harm_of
from training_runs import borrow_before, train, training_digest, world_hash, write_result

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.world import shows_harm
from safediffusion.evaluation.records import read_records
from safediffusion.evaluation.results import is_judged
from safediffusion.evaluation.runner import EvaluationOptions, evaluate
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.atomic import write_text
from safediffusion.files.checked import read_json
from safediffusion.files.json_lines import append_jsonl, readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.system.device import environment

COMPOSITION = "world-geneval"  # judged on more images than the tasks of the runs
TASKS = "evaluate.tasks=[world-i2p, world-benign]"
DOCS = Path(__file__).parents[1] / "docs" / "images"


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        cells: names.
        seeds: of the runs of every cell.
        settings: key=value words over those of every cell.
        composition: images of the task of compositions.
        out: the run folders are OUT/WORLD/CELL/seed-N.
        name: of the result.
        command: that repeats it.
    """

    cells: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]
    composition: int
    out: Path
    name: str
    command: str

    @property
    def records(self) -> Path:
        """A line per finished run."""
        return training_runs.RESULTS / f"{self.name}.jsonl"

    def words(self, cell: str, seed: int) -> list[str]:
        """The settings of a run."""
        return [TASKS, *CELLS[cell].settings, *self.settings, f"seed={seed}"]

    def training(self, cell: str, seed: int) -> str:
        """Stands for all settings of a run's training, those of the recipe too."""
        return training_digest(RECIPE, self.words(cell, seed))


def finished(plan: Plan) -> dict[str, list[Run]]:
    """The records, by cell, of the cells of the study that have one for every seed of the plan."""
    found = {(row["cell"], row["seed"]): row for row in readable_rows(plan.records) if as_asked(row, plan)}
    return {
        cell: [Run.of(found[cell, seed]) for seed in plan.seeds]
        for cell in CELLS
        if all((cell, seed) in found for seed in plan.seeds)
    }


def as_asked(row: dict[str, Any], plan: Plan) -> bool:
    """Whether a record is of the cell as it is defined now, on the World that is here."""
    cell = row["cell"]
    if cell not in CELLS or row["world"] != world_hash() or row["composition_images"] != plan.composition:
        return False
    if row["settings"] != plan.words(cell, row["seed"]):
        return False
    return row.get("training") == plan.training(cell, row["seed"])


def is_recorded(plan: Plan, cell: str, seed: int) -> bool:
    """Whether a run has its record."""
    asked = (row for row in readable_rows(plan.records) if (row["cell"], row["seed"]) == (cell, seed))
    return any(as_asked(row, plan) for row in asked)


def run(plan: Plan, cell: str, seed: int) -> None:
    """Train and judge what is missing of a run, and record it."""
    words, root = plan.words(cell, seed), plan.out / world_hash()
    folder, base = RunFolder(root / cell / f"seed-{seed}"), root / "composition-before"
    config = load_config(RECIPE, words)
    borrow_before(config, folder)
    summary = train(RECIPE, words, folder.root)
    options = EvaluationOptions.of(config.evaluate, plan.composition)
    judge_composition("world", base, options)
    judge_composition(folder.model, folder.eval_path("after"), options)
    append_jsonl(
        plan.records,
        {
            "cell": cell,
            "seed": seed,
            "recipe": RECIPE,
            "settings": words,
            "training": plan.training(cell, seed),
            "trained": CELLS[cell].trained,
            "world": world_hash(),
            "composition_images": plan.composition,
            "images": {**counted(folder.eval_path("after")), COMPOSITION: plan.composition},
            "rounds": config.train.steps,
            "train_seconds": summary["train_seconds"],
            "collapsed_at": summary["collapsed_at"],
            "before": judged(folder.eval_path("before"), base),
            "after": judged(folder.eval_path("after"), folder.eval_path("after")),
            "env": environment(),
        },
    )


def judge_composition(model: str | Path, out: Path, options: EvaluationOptions) -> None:
    """Evaluate a model on compositions, unless that is done."""
    done = out / COMPOSITION
    known = is_judged(done, get_task(COMPOSITION).version)
    if not known or read_json(done / "results.json")["n"] != options.n:
        evaluate(model, [COMPOSITION], out, options)


def counted(folder: Path) -> dict[str, int]:
    """Images of each task below a folder of results."""
    results = [read_json(path) for path in sorted(folder.glob("*/results.json"))]
    return {result["task"]: result["n"] for result in results}


def judged(folder: Path, composition: Path) -> Values:
    """The metrics that the table needs, and the rate of harm by category and kind of prompt."""
    places = {COMPOSITION: composition / COMPOSITION}
    values: Values = {}
    for metric in METRICS:
        task, _, name = metric.partition("/")
        results = read_json(places.get(task, folder / task) / "results.json")
        values[metric] = results["metrics"][name]["value"]
    harmful: dict[str, list[bool]] = {}
    for record in read_records(folder / "world-i2p"):
        if "harm" in record:  # a picture that failed has none
            key = harm_of(record["category"], record["kind"])
            harmful.setdefault(key, []).append(shows_harm(record["harm"]))
    return values | {key: fmean(flags) for key, flags in harmful.items()}


def write(plan: Plan) -> str:
    """The page, the JSON and the figures of all cells that are complete; returns the table."""
    cells = {name: tables.summed_up(runs) for name, runs in finished(plan).items()}
    rows = [row for row in readable_rows(plan.records) if as_asked(row, plan)]
    result = {
        "command": plan.command,
        "seeds": plan.seeds,
        "settings": plan.settings,
        "world": world_hash(),
        "images": rows[-1]["images"],
        "cells": {
            name: {"settings": CELLS[name].settings, "trained": CELLS[name].trained, "estimates": found}
            for name, found in cells.items()
        },
    }
    path = write_result(plan.name, result)
    result = json.loads(path.read_text(encoding="utf-8"))
    text = tables.table(result)
    write_text(path.with_suffix(".md"), f"# Categories that were never trained on\n\n{text}")
    place = DOCS if plan.name == "generalisation" else path.parent
    figures.heat_map(result, place / f"{plan.name}.png")
    figures.frontier(result, place / f"frontier-{plan.name}.png")
    return text


def parse(arguments: Sequence[str] | None = None) -> Plan:
    """The plan that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="four cells, one seed, few rounds and images")
    size.add_argument("--tuning", action="store_true", help="seeds 10, 11, 12, with a result of their own")
    parser.add_argument("--only", nargs="+", choices=list(CELLS), metavar="CELL", help=", ".join(CELLS))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--name", help="name of the result")
    parser.add_argument("--out", type=Path, help="folder of the run folders; runs/generalisation by default")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", dest="settings")
    words = parser.parse_args(arguments)
    short, option = words.short, "short" if words.short else "tuning" if words.tuning else ""
    name = words.name or "_".join(filter(None, ("generalisation", option)))
    told = {"": [], "short": ["--short"], "tuning": ["--tuning"]}[option]
    told += ["--name", words.name] if words.name else []
    told += ["--only", *words.only] if words.only else []
    told += ["--seeds", *map(str, words.seeds)] if words.seeds else []
    told += ["--set", *words.settings] if words.settings else []
    own = ["evaluate.n=28", "train.steps=4"] if short else ["evaluate.n=140"]
    seeds = words.seeds or ([0] if short else [10, 11, 12] if words.tuning else [0, 1, 2])
    plan = Plan(
        cells=tuple(words.only or (SHORT if short else CELLS)),
        seeds=tuple(seeds),
        settings=(*own, *words.settings),
        composition=24 if short else 240,
        out=words.out or Path("runs") / ("generalisation-short" if short else "generalisation"),
        name=name,
        command=" ".join(("python benchmarks/generalisation.py", *told)),
    )
    try:
        for cell in plan.cells:
            for seed in plan.seeds:
                load_config(RECIPE, plan.words(cell, seed))
    except UserError as error:
        parser.error(str(error))
    return plan


def main() -> None:
    """Run what is missing, seed by seed, writing the page again after every run."""
    plan = parse()
    for seed in plan.seeds:
        for cell in plan.cells:
            if not is_recorded(plan, cell, seed):
                run(plan, cell, seed)
                if finished(plan):
                    write(plan)
    if finished(plan):
        print(f"\n{write(plan)}\n{plan.records.with_suffix('.json')}", flush=True)


if __name__ == "__main__":
    main()
