"""A model of true size with random weights through the real command on a CPU: does the plan's memory hold?

    python benchmarks/true_size.py [sd14] [sdxl] [--resolution 64] [--folder DIR]

Of each model it builds a pipeline folder (2 to 7 GB), prints the plan, trains two rounds, kills the command
(kill -9) after the first checkpoint, gives it again, exports an adapter for other programs and samples from
the result. The peak memory of the rounds, less what a process has after its imports, is held against the
plan's; the end of a run, which writes the merged model, is measured beside it. Needs Linux; SDXL needs 25 GB
of disk and, to sample from its result in float32, some 12 GiB of memory. Writes
benchmarks/results/true_size.json, where rows of other models stay; exit code 1 if the plan is more than 20%
off or the run takes more than 16 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from training_runs import RESULTS, write_result

from safediffusion.config import load_config
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.diffusion.load import DTYPES
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.plan import preview

RECIPES = {"sd14": "sd14-lora-12gb", "sdxl": "sdxl-lora-24gb"}
NEAR, MOST_GIB = 0.2, 16.0
MIB = 2**20
PROGRAM = (sys.executable, "-W", "ignore", "-m", "safediffusion")
IMPORTS = (
    "import diffusers, transformers, peft, safediffusion.run.train, safediffusion.training.trainer;"
    "from diffusers import StableDiffusionPipeline;"
    "from pathlib import Path; print(Path('/proc/self/status').read_text())"
)


@dataclass(frozen=True)
class Row:
    """What was planned and measured of a model; memory in MiB.

    Attributes:
        model: its recipe.
        parameters: of all parts.
        settings: words over the recipe's.
        planned: the plan's peak.
        imports: peak of a process that only imports the libraries.
        measured: peak of the process that went on with the run, until its last round.
        ended: the same until its end.
        exported: bytes of the adapter for other programs.
    """

    model: str
    parameters: int
    settings: tuple[str, ...]
    planned: float
    imports: float
    measured: float
    ended: float
    exported: int

    @property
    def ratio(self) -> float:
        """Measured over planned memory, without the imports."""
        return (self.measured - self.imports) / self.planned

    @property
    def holds(self) -> bool:
        """Whether the plan was near enough, and the process small enough."""
        return abs(self.ratio - 1) <= NEAR and self.ended <= MOST_GIB * 1024


def build(path: str, dtype: torch.dtype, folder: Path) -> None:
    """Write a pipeline with random weights in the precision that the recipe stores."""
    torch.set_default_dtype(dtype)  # float32 would need twice the memory
    try:
        ARCHITECTURES[path]().save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)


def words_of(folder: Path, resolution: int) -> tuple[str, ...]:
    """A small run of the recipe: two rounds of six images, with World's prompts and reward."""
    return (
        f"model.path={folder}", f"model.resolution={resolution}", "model.dtype=bf16",
        "prompts.path=world-mixed", "prompts.heldout=0", "reward.encoder=world", "rollout.steps=2",
        "rollout.group_size=2", "rollout.prompts=3", "train.steps=2", "train.updates=1",
        "train.checkpoint_every=1", "train.sample_every=1000", "evaluate.tasks=[]", "evaluate.steps=2",
    )  # fmt: skip


def run_killed_and_again(words: Sequence[str], run: RunFolder) -> None:
    """Train, kill after the first checkpoint, and give the command again."""
    command = [*PROGRAM, "train", *words, "--out", str(run.root)]
    first = subprocess.Popen(command, start_new_session=True)
    while first.poll() is None and not any(run.checkpoints.glob("step_*")):
        time.sleep(0.2)
    if first.poll() is None:
        os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    subprocess.run(command, check=True)


def imported() -> float:
    """MiB at the peak of a process that only imports the libraries."""
    status = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    ).stdout
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) / 1024


def checked(*words: str) -> None:
    """Run a command of the package; it has to succeed."""
    print(f"$ safediffusion {' '.join(words)}", flush=True)
    subprocess.run([*PROGRAM, *words], check=True)


def measure(name: str, resolution: int, folder: Path) -> Row:
    """Build, plan, train, kill, go on, export and sample."""
    recipe, model = RECIPES[name], folder / name
    config = load_config(recipe)
    if not model.exists():
        build(config.model.path, DTYPES[config.model.storage], model)
    words = words_of(model, resolution)
    plan = preview(load_config(recipe, list(words)))
    print(f"{recipe}\n{plan}\n", flush=True)
    run, adapter = RunFolder(folder / f"{name}-run"), folder / f"{name}.safetensors"
    run_killed_and_again((recipe, *words), run)
    rounds = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    checked("export", str(run.root), "--to", "kohya", "--out", str(adapter))
    checked("sample", str(run.root), "a red square", "--out", str(folder / f"{name}.png"))
    return Row(
        model=recipe,
        parameters=plan.parameters,
        settings=words[1:],
        planned=plan.memory.peak / MIB,
        imports=imported(),
        measured=rounds[-1]["peak_memory_mib"],
        ended=json.loads(run.summary.read_text(encoding="utf-8"))["peak_memory_mib"],
        exported=adapter.stat().st_size,
    )


def kept_rows(path: Path, measured: Collection[str]) -> list[dict[str, Any]]:
    """Rows of an earlier result whose recipes are not measured anew."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["model"] not in measured]


def names_of(recipe: str) -> str:
    """What a recipe's model is called on the command line."""
    return next(name for name, own in RECIPES.items() if own == recipe)


def main() -> None:
    """Measure the models that are asked for, write the result, and say whether the plans hold."""
    parser = argparse.ArgumentParser(description="Models of true size with random weights, on a CPU.")
    parser.add_argument("names", nargs="*", choices=[*RECIPES, []], help="all by default")
    parser.add_argument("--resolution", type=int, default=64, help="of the images, 64 to 128")
    parser.add_argument("--folder", type=Path, help="for models and runs, which are kept there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        rows = [measure(name, asked.resolution, folder) for name in asked.names or RECIPES]
    for row in rows:
        used = f"{row.measured:,.0f} - {row.imports:,.0f} MiB ({row.ended:,.0f} at the end)"
        print(f"{row.model}: planned {row.planned:,.0f} MiB, measured {used}, ratio {row.ratio:.2f}")
    found = [asdict(row) | {"ratio": row.ratio} for row in rows]
    found = [*kept_rows(RESULTS / "true_size.json", {row.model for row in rows}), *found]
    command = " ".join(["python benchmarks/true_size.py", *(names_of(row["model"]) for row in found)])
    print(write_result("true_size", {"command": command, "rows": found}))
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
