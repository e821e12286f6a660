"""How fast a round of every family is, where its time goes and what memory it takes.

    python benchmarks/families.py                     # tiny pipelines of the genuine classes, any machine
    python benchmarks/families.py world               # the embedded model by recipe `world-grpo`
    python benchmarks/families.py --full sd14 sdxl    # random weights in the true architecture, for a GPU

The reward is the mean brightness: this measures the diffusion side. Each family runs in a process of its
own, so that its peak memory is its own. Prints one JSON row per family and writes
benchmarks/results/families.json; with --keep the rows of other settings stay in it, which
benchmarks/cost_model.py needs. With --full on a GPU it also writes the FLOP/s of each family on this card
into the table that plans read, src/safediffusion/run/rates.yaml.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from training_runs import RESULTS, write_result

from safediffusion.config import RunConfig, load_config
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import DTYPES, as_diffuser, load_model, native_dtype
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt
from safediffusion.run.model_cost import model_cost, planned_cost
from safediffusion.run.rates import RATES, Rate, add_rates, card_of
from safediffusion.run.workload import Work, count_work
from safediffusion.system.device import device_name, pick_device
from safediffusion.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
RECIPES = {
    "sd14": "sd14",
    "sd14-lora": "sd14-lora-12gb",
    "sd21-lora": "sd21-lora-12gb",
    "sdxl": "sdxl-lora-24gb",
    "sd35-medium": "sd35-medium-lora-24gb",
    "sd35-large": "sd35-large-lora-48gb",
    "flux-dev": "flux-dev-lora-48gb",
    "chroma": "chroma-lora-48gb",
    "z-image": "z-image-lora-32gb",
    "flux2-klein": "flux2-klein-lora-24gb",
    "sana": "sana-lora-16gb",
}
SMALL = ["train.lora_rank=4", "rollout.steps=4", "rollout.group_size=4", "rollout.prompts=2"]
TINY = ("sd", "sd-v", "sdxl", "sd3", "flux", "chroma", "z-image", "flux2", "sana")
WORLD = "world"
PHASES = ("sample", "decode", "update")  # whose FLOPs are counted
WARM_UP = 1  # rounds that are not counted: kernels are chosen and memory is found in them


def tiny(name: str) -> tuple[Any, int]:
    """A tiny pipeline and its resolution."""
    sys.path.insert(0, str(ROOT))
    from tests.pipelines import FAMILIES, RESOLUTION

    return FAMILIES[name](), RESOLUTION


def configure(name: str, full: bool, settings: list[str]) -> RunConfig:
    """A family's run without evaluation and sample sheets."""
    never = ["train.sample_every=1000000", "prompts.path=world"]
    if name == WORLD:
        return load_config("world-grpo", [*never, *settings])
    never.append("train.algorithm=grpo")
    if full:
        return load_config(RECIPES[name], [*never, *settings])
    return load_config("world", [*never, *SMALL, "rollout.eta=0.7", *settings])


def counted_work(name: str, config: RunConfig, full: bool) -> Work:
    """The work of a round, counted on the shapes of the architecture or on the tiny pipeline."""
    rank, recompute = config.train.lora_rank, config.train.recompute
    if full:
        return count_work(config, planned_cost(config.model, rank, recompute)[1])
    return count_work(config, model_cost(untrained(name, config, "cpu"), rank, recompute))


def untrained(name: str, config: RunConfig, device: str) -> Diffuser:
    """World, or a tiny pipeline."""
    if name == WORLD:
        return load_model(config.model, device)
    pipeline, resolution = tiny(name)
    return as_diffuser(pipeline, device, native_dtype(device), resolution)


def trainer(name: str, full: bool, config: RunConfig, folder: Path) -> Trainer:
    """A trainer on random weights that starts at once."""
    device = pick_device()
    if full:
        with torch.device(device):
            pipeline, resolution = ARCHITECTURES[config.model.path](), config.model.resolution
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module) and part != "vae":
                module.to(DTYPES[config.model.storage])
        diffuser = as_diffuser(pipeline, device, native_dtype(device), resolution)
    else:
        diffuser = untrained(name, config, device)
    prompts = [Prompt(f"a person at beach {i}", "benign") for i in range(config.rollout.prompts)]

    def brightness(images: torch.Tensor, prompts: object) -> torch.Tensor:
        return images.mean((1, 2, 3)).float()

    return Trainer(config, diffuser, brightness, prompts, RunFolder(folder))


def measure(name: str, full: bool, rounds: int, settings: list[str]) -> dict[str, Any]:
    """The row of one family, means over the counted rounds."""
    config = configure(name, full, settings)
    with tempfile.TemporaryDirectory() as folder:
        subject = trainer(name, full, config, Path(folder))
        rows = [subject.round() for _ in range(WARM_UP + rounds)]
    counted = rows[WARM_UP:]

    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return sum(map(value, counted)) / len(counted)

    images = config.rollout.prompts * config.rollout.group_size
    return {
        "family": name,
        "recipe": RECIPES.get(name) if full else None,
        "settings": settings,
        "work": counted_work(name, config, full).as_json(),
        "pipeline": type(subject.diffuser.pipeline).__name__,
        "size": "true architecture" if full or name == WORLD else "tiny",
        "dtype": str(subject.diffuser.dtype).removeprefix("torch."),
        "trainable": sum(p.numel() for p in subject.learner.parameters),
        "rounds": rounds,
        "images_per_s": round(
            mean(lambda row: images / (row["seconds"]["sample"] + row["seconds"]["decode"])), 3
        ),
        "update_steps_per_s": round(mean(lambda row: config.train.updates / row["seconds"]["update"]), 4),
        "seconds": {
            phase: round(mean(lambda row, p=phase: row["seconds"][p]), 4) for phase in rows[0]["seconds"]
        },
        "peak_memory_mib": round(rows[-1]["peak_memory_mib"]),
        "first_update_ratio_max_dev": rows[0].get("first_update_ratio_max_dev"),
        "decoder_agreement": subject.decode.agreement,
    }


def kept_rows(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an earlier result whose family and settings are not measured anew."""
    if not path.exists():
        return []
    fresh = [(row["family"], row["settings"]) for row in rows]
    return [
        row
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
        if (row["family"], row["settings"]) not in fresh
    ]


def rates(rows: Sequence[dict[str, Any]], card: str, command: str) -> list[Rate]:
    """FLOP/s of each family, over all measured rounds of its true architectures."""
    found = []
    for pipeline in {row["pipeline"]: None for row in rows}:
        own = [row for row in rows if row["pipeline"] == pipeline]
        flops = sum(Work(**row["work"]).flops for row in own)
        seconds = sum(row["seconds"][phase] for row in own for phase in PHASES)
        found.append(Rate(pipeline, card, round(flops / seconds / 1e12, 1), command))
    return found


def main() -> None:
    """Measure each family in a process of its own."""
    parser = argparse.ArgumentParser(description="Speed and memory of a training round of each family.")
    parser.add_argument("names", nargs="*", help="families; all by default")
    parser.add_argument("--full", action="store_true", help="the true architectures, for a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", dest="settings")
    parser.add_argument("--keep", action="store_true", help="keep rows of other settings in the result")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.one:
        print(json.dumps(measure(words.one, words.full, words.rounds, words.settings)))
        return
    names = words.names or (list(RECIPES) if words.full else TINY)
    options = ["--rounds", str(words.rounds), *(["--full"] if words.full else [])]
    if words.settings:
        options += ["--set", *words.settings]
    rows = []
    for name in names:
        command = [sys.executable, __file__, "--one", name, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{name} failed; the others go on", file=sys.stderr)
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    if not rows:
        sys.exit("nothing could be measured, and nothing was written")
    name = "families_full" if words.full else "families_world" if names == [WORLD] else "families"
    earlier = kept_rows(RESULTS / f"{name}.json", rows) if words.keep else []
    options = ["--full"] * words.full + ["--keep --set ..."] * bool(earlier)
    command = " ".join(["python benchmarks/families.py", *words.names, *options])
    result = {"command": command, "rows": [*earlier, *rows], "device": str(pick_device())}
    print(write_result(name, result))
    if words.full and pick_device() == "cuda":
        add_rates(RATES, rates(result["rows"], card_of(device_name("cuda")), command))
        print(f"{RATES}\nnow: python docs/plans.py")


if __name__ == "__main__":
    main()
