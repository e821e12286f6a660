"""Every safety method on the same pictures of World: its default settings, and the best of a small budget.

    python benchmarks/baselines.py [--only METHOD ...] [--seeds 0 1 2] [--out DIR]
    python benchmarks/baselines.py --short     # default settings, few pictures, hardly any training

First each method's settings are compared on prompts, noise and training seeds that no row of the table uses;
every rival has the same number of them, and the one with the lowest loss is its tuned row (see `loss`).
Recipe `world` has one setting: it was chosen by hand before, on more tries than a rival gets. Then
default and tuned settings are judged, those made by training once per seed. A finished judgement is a line of
benchmarks/results/baselines.jsonl and is not repeated while its settings and World's networks are the same.
Several of these commands may run at once with other methods each; a last one of all writes the table.
Writes baselines.md, baselines.json and docs/images/baselines.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import baselines_tables as tables
import training_runs
from baselines_rows import BASE, METHODS, Bare, Made, Trained, WhileSampling, Written, candidates
from training_runs import digest, train, training_digest, world_hash, write_result

from safediffusion.baselines.make import CARD, make
from safediffusion.baselines.registry import find_method
from safediffusion.baselines.sampling import attach
from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.sample import generate
from safediffusion.evaluation.options import EvaluationOptions
from safediffusion.evaluation.runner import evaluate
from safediffusion.files.atomic import write_text
from safediffusion.files.checked import read_json
from safediffusion.files.json_lines import append_jsonl, readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.system.device import environment

DOCS = Path(__file__).parents[1] / "docs" / "images"
TUNING_SEED = 10
SAMPLER: dict[str, Any] = {"steps": 16, "guidance": 3.0}
PROMPT = "a person at the beach"
Row = dict[str, Any]


@dataclass(frozen=True)
class Judging:
    """How models are judged.

    Attributes:
        images: of each task.
        seed: of prompts and noise.
    """

    images: dict[str, int]
    seed: int


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        methods: names.
        seeds: of methods that are made by training.
        judging: of the rows of the table.
        tuning: of the settings that are compared before; None compares none.
        training: key=value words over those of every recipe.
        iterations: of methods that write weights by training; None leaves theirs.
        out: models and results lie below.
        name: of the result.
        command: that repeats it.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    judging: Judging
    tuning: Judging | None
    training: tuple[str, ...]
    iterations: int | None
    out: Path
    name: str
    command: str

    @property
    def records(self) -> Path:
        """A line per judgement."""
        return training_runs.RESULTS / f"{self.name}.jsonl"


def asked(plan: Plan, made: Made, judging: Judging, seed: int) -> Row:
    """What a judgement depends on."""
    own: Row = {}
    if isinstance(made, Trained):
        own = {"training": list(plan.training), "recipe": training_digest(made.recipe, made.settings)}
    if isinstance(made, Written) and made.by_chance:
        own = {"iterations": plan.iterations}
    return {
        "settings": str(made),
        "seed": seed if made.by_chance else None,
        "world": world_hash(),
        "images": judging.images,
        "judging_seed": judging.seed,
        **own,
    }


def known(plan: Plan, wanted: Row) -> Row | None:
    """The judgement that is on record, if it is."""
    rows = readable_rows(plan.records)
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), None)


def judged(plan: Plan, name: str, made: Made, judging: Judging, seed: int) -> Row:
    """The judgement of a method with these settings, made and evaluated unless it is on record."""
    wanted = asked(plan, made, judging, seed)
    row = known(plan, wanted)
    if row is None:
        print(f"{name}: {made} seed {wanted['seed']}", flush=True)
        place = plan.out / world_hash() / digest(wanted)
        row = {"method": name, **wanted, **measured(plan, made, judging, seed, place), "env": environment()}
        append_jsonl(plan.records, row)
    return row


def measured(plan: Plan, made: Made, judging: Judging, seed: int, place: Path) -> Row:
    """Metrics of a method's model, how many network passes a picture takes, and the seconds to make it."""
    model, seconds = obtained(plan, made, seed, place)
    first, _ = one_picture(model)  # what a method learns before it is in these seconds
    again, passes = one_picture(model)
    metrics: Row = {}
    for task, n in judging.images.items():
        options = EvaluationOptions(n, judging.seed, **SAMPLER)
        found = evaluate(model, [task], place / "eval", options)[task]["metrics"]
        metrics |= {f"{task}/{metric}": value for metric, value in found.items()}
    kept = {metric: metrics[metric] for metric in tables.COLUMNS}
    return {"metrics": kept, "passes": passes, "seconds": round(seconds + max(0.0, first - again), 1)}


def obtained(plan: Plan, made: Made, seed: int, place: Path) -> tuple[Diffuser, float]:
    """The model of a method, and the seconds its making took."""
    if isinstance(made, Bare):
        return load_model("world"), 0.0
    if isinstance(made, WhileSampling):
        model, start = load_model("world"), time.monotonic()
        attach(model, made.method, made.concepts)
        return model, time.monotonic() - start
    if isinstance(made, Written):
        path = place / "model"
        if not path.exists():
            options = made.options | ({"seed": seed} if made.by_chance else {})
            if made.by_chance and plan.iterations:
                options["iterations"] = plan.iterations
            make(find_method(made.method), ModelConfig(path="world"), made.concepts, options, path)
        return load_model(path, merged=True), read_json(path / CARD)["seconds"]
    words = [*made.settings, *plan.training, "evaluate.tasks=[]", f"seed={seed}"]
    summary = train(made.recipe, words, place / "run")
    return load_model(RunFolder(place / "run").model, merged=True), summary["train_seconds"]


def one_picture(model: Diffuser) -> tuple[float, int]:
    """Seconds of sampling a picture, and the rows that the network computes for it."""
    rows: list[int] = []
    start = time.monotonic()
    first: Any = model.network.get_submodule("conv_in")  # a method calls the others by itself
    count = first.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    generate(model, [PROMPT], [0], **SAMPLER)
    count.remove()
    return time.monotonic() - start, sum(rows)


def loss(row: Row, base: Row) -> float:
    """What settings are chosen by: unsafe, unrecognisable, and lost shares of composition and CLIP-T."""
    own, before = row["metrics"], base["metrics"]
    lost = [1 - own[key]["value"] / before[key]["value"] for key in (tables.COMPOSITION, tables.CLIP_T)]
    bad = own[tables.UNSAFE]["value"] + own[tables.UNRECOGNISABLE]["value"]
    return bad + sum(max(0.0, each) for each in lost)


def tuned(plan: Plan, name: str) -> tuple[str, Made]:
    """The settings of a method with the lowest loss on the seeds for tuning, with their name."""
    if plan.tuning is None or len(METHODS[name]) == 1:
        return next(candidates(name))
    base = judged(plan, BASE, Bare(), plan.tuning, TUNING_SEED)
    losses = [loss(judged(plan, name, made, plan.tuning, TUNING_SEED), base) for _, made in candidates(name)]
    return list(candidates(name))[losses.index(min(losses))]


def rows_of(plan: Plan, name: str) -> list[tables.Line]:
    """The lines of a method: its default settings, and the tuned ones where they are others."""
    chosen = dict([next(candidates(name)), tuned(plan, name)])
    return [
        tables.Line.of(
            name,
            settings,
            [
                judged(plan, name, made, plan.judging, seed)
                for seed in (plan.seeds if made.by_chance else plan.seeds[:1])
            ],
        )
        for settings, made in chosen.items()
    ]


def write(plan: Plan, lines: Sequence[tables.Line]) -> str:
    """The page, the JSON and the plot; returns the table."""
    about = {
        "command": plan.command,
        "seeds": plan.seeds,
        "images": plan.judging.images,
        "judging_seed": plan.judging.seed,
        "tuning": plan.tuning and {"images": plan.tuning.images, "seed": plan.tuning.seed},
        "world": world_hash(),
        "lines": [line.as_json() for line in lines],
    }
    path = write_result(plan.name, about)
    text = tables.table(about)
    write_text(path.with_suffix(".md"), f"# Safety methods on the same pictures\n\n{text}")
    place = DOCS if plan.name == "baselines" else path.parent
    tables.plot(lines, place / f"{plan.name}.png")
    return text


def parse(arguments: Sequence[str] | None = None) -> Plan:
    """The plan that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="default settings, few pictures and rounds")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", help="of methods that are made by training")
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"))
    words = parser.parse_args(arguments)
    name = "baselines_short" if words.short else "baselines"
    told = ["--short"] if words.short else []
    told += ["--only", *words.only] if words.only else []
    told += ["--seeds", *map(str, words.seeds)] if words.seeds else []
    return Plan(
        methods=tuple(name for name in METHODS if name == BASE or name in (words.only or METHODS)),
        seeds=tuple(words.seeds or ([0] if words.short else [0, 1, 2])),
        judging=Judging(tables.SHORT if words.short else tables.IMAGES, EvaluationOptions().seed),
        tuning=None if words.short else Judging(tables.TUNING, TUNING_SEED),
        training=("train.steps=2", "rollout.prompts=2") if words.short else (),
        iterations=10 if words.short else None,
        out=words.out,
        name=name,
        command=" ".join(("python benchmarks/baselines.py", *told)),
    )


def main() -> None:
    """Judge what is missing, method by method, writing the page again after each."""
    plan, lines, text = parse(), [], ""
    for name in plan.methods:
        lines += rows_of(plan, name)
        text = write(plan, lines)
    print(f"\n{text}\n{training_runs.RESULTS / plan.name}.json", flush=True)


if __name__ == "__main__":
    main()
