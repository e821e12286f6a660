"""Training runs for benchmarks: each in its own process, finished ones reused, and their numbers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safediffusion import world
from safediffusion.config import RunConfig, diff, dump, flatten, load_config, load_run_config
from safediffusion.files.atomic import write_json, write_text
from safediffusion.files.hashes import sealed
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.session import claim, is_finished
from safediffusion.statistics.intervals import over_seeds
from safediffusion.system.device import environment

RESULTS = Path(__file__).parent / "results"

Summary = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with Student's 95% interval; one seed has no interval."""

    value: float
    ci_low: float | None
    ci_high: float | None
    seeds: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """From one value per seed."""
        mean, interval = over_seeds(values)
        low, high = interval or (None, None)
        return cls(mean, low, high, list(values))

    def show(self, digits: int) -> str:
        """For example 0.123 [0.101, 0.145]."""
        if self.ci_low is None or self.ci_high is None:
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.ci_low:.{digits}f}, {self.ci_high:.{digits}f}]"


def train(recipe: str, settings: Sequence[str], out: Path, threads: int | None = None) -> Summary:
    """The summary of a run, which is trained unless it is finished.

    The command refuses a folder with other settings.

    Args:
        threads: of the process; None is one per core.
    """
    done = RunFolder(out)
    if is_finished(done) and not diff(load_run_config(done.config), load_config(recipe, list(settings))):
        return read_summary(out)
    command = [sys.executable, "-m", "safediffusion", "train", recipe, *settings, "--out", str(out)]
    print(f"$ {' '.join(command[1:])}", flush=True)
    limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    if subprocess.run(command, env=os.environ | limit).returncode:
        sys.exit(f"the run in {out} failed; the same command goes on from there")
    return read_summary(out)


def lengthen(config: RunConfig, folder: RunFolder) -> None:
    """Let a run that its time limit ended go on to the higher limit of `config`, from its last checkpoint.

    Its summary and its evaluation after training go, as they are of a model that is trained further. A kill
    in between leaves a run that is not finished, and the next call does the rest.
    """
    if not folder.config.exists():
        return
    old = load_run_config(folder.config)
    if diff(old, config) != ["train.max_seconds"] or not longer(config, old):
        return
    folder.summary.unlink(missing_ok=True)
    shutil.rmtree(folder.eval_path("after"), ignore_errors=True)
    write_text(folder.config, sealed(dump(config)))


def longer(a: RunConfig, b: RunConfig) -> bool:
    """Whether a run may train for longer than another; no limit is the longest."""
    first, second = (config.train.max_seconds or math.inf for config in (a, b))
    return first > second


def borrow_before(config: RunConfig, folder: RunFolder) -> None:
    """Copy the records of the base model from another run that evaluates the same model in the same way."""
    if folder.config.exists():
        return
    for done in sorted(folder.root.parent.parent.glob("**/summary.json")):
        other = RunFolder(done.parent)
        if evaluated_alike(load_run_config(other.config), config):
            folder.root.mkdir(parents=True)
            claim(folder, config)
            shutil.copytree(other.eval_path("before"), folder.eval_path("before"))
            return


def evaluated_alike(a: RunConfig, b: RunConfig) -> bool:
    """Whether two runs evaluate the same base model in the same way before and after training."""
    during = {"during_every": b.evaluate.during_every, "during_n": b.evaluate.during_n}
    return (a.model, a.evaluate.model_copy(update=during)) == (b.model, b.evaluate)


def read_summary(out: Path) -> Summary:
    """summary.json of a finished run."""
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


@cache
def world_hash() -> str:
    """Eight digits that are others as soon as one of World's networks is."""
    sums = [
        hashlib.sha256(file.read_bytes()).digest() for file in sorted(world.ASSETS.rglob("*.safetensors"))
    ]
    return hashlib.sha256(b"".join(sums)).hexdigest()[:8]


def digest(values: dict[str, Any]) -> str:
    """Twelve digits that stand for these values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def training_digest(recipe: str, settings: Sequence[str]) -> str:
    """Stands for all that a recipe with these settings sets of training: a changed recipe has another."""
    config = load_config(recipe, list(settings))
    values = flatten(config)
    return digest({key: values[key] for key in diff(RunConfig(), config) if not key.startswith("evaluate.")})


def write_result(name: str, content: dict[str, Any]) -> Path:
    """benchmarks/results/NAME.json with the environment it was measured in."""
    path = RESULTS / f"{name}.json"
    write_json(path, content | {"env": environment()})
    return path


def as_json(estimates: dict[str, Estimate]) -> dict[str, Any]:
    """Plain values for a JSON file."""
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is readable as text too."""
    table = [list(header), *(list(row) for row in rows)]
    width = [max(len(row[j]) for row in table) for j in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)) + " |" for row in table
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in width) + "|", *lines[1:]]) + "\n"
