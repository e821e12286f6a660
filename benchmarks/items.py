"""What each way to train faster saves on this machine, one at a time: rounds with and without it, in turn.

    python benchmarks/items.py [--pairs 2] [--rounds 3] [--only NAME ...] [--tiny-vae PATH]

Every measurement is a process of its own (benchmarks/families.py) on the embedded model, with and without the
item in turn, so that drift of the machine hits both. Compiling is not counted. World has no small decoder:
one is taught first (benchmarks/small_decoder.py), unless --tiny-vae names one. An item that cannot run here
is written with its reason. Writes results/items.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from training_runs import RESULTS, as_json, markdown, write_result
from training_runs import Estimate as Mean

from safediffusion.system.device import pick_device
from safediffusion.training.compiling import can_compile
from safediffusion.training.reward_decoder import LEAST

FAMILIES = Path(__file__).with_name("families.py")
EVERY_STEP = ("train.timestep_fraction=1.0",)
NFT = ("train.algorithm=nft",)
PHASES = ("sample", "decode", "update")
TINY, COMPILE = "model.tiny_vae=PATH", "train.compile=true"


@dataclass(frozen=True)
class Item:
    """One way to train faster: the settings of recipe `world-grpo` without it, and those it adds."""

    without: tuple[str, ...]
    added: tuple[str, ...]


ITEMS = {
    "all prompts in one batch": Item(
        (*NFT, "rollout.batch_size=12", "train.micro_batch=12"),
        ("rollout.batch_size=96", "train.micro_batch=96"),
    ),
    "nft for grpo": Item(EVERY_STEP, NFT),
    "compile, nft": Item(NFT, (COMPILE,)),
    "compile, grpo": Item((), (COMPILE,)),
    "fewer denoising steps": Item((), ("rollout.steps=6",)),
    "second-order solver": Item(NFT, ("rollout.solver=dpm++",)),
    "small decoder": Item(NFT, (TINY,)),
    "channels last": Item(NFT, ("train.channels_last=true",)),
    "a share of the steps": Item(EVERY_STEP, ("train.timestep_fraction=0.3",)),
    "a window": Item(EVERY_STEP, ("train.window=2",)),
    "branches before the window": Item((*EVERY_STEP, "train.window=2"), ("rollout.branches=3",)),
    "no guidance in the update": Item((), ("train.cfg_update=false",)),
}


class CannotRun(Exception):
    """An item that cannot be measured here; the message is the reason."""


def measured(settings: Sequence[str], rounds: int) -> dict[str, Any]:
    """A row of families.py.

    Raises:
        CannotRun: the rounds failed, or left the item unused.
    """
    command = [sys.executable, str(FAMILIES), "--one", "world", "--rounds", str(rounds)]
    command += ["--set", *settings] if settings else []
    print(f"$ {' '.join(command[1:])}", flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotRun(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    row = json.loads(done.stdout.splitlines()[-1])
    if (agreement := row.get("decoder_agreement")) is not None and agreement < LEAST:
        raise CannotRun(f"its rewards correlate with the full decoder's by {agreement:.2f}, below {LEAST:g}")
    return row


def filled(item: Item, tiny_vae: Path | None) -> tuple[str, ...]:
    """The settings that an item adds, on this machine.

    Raises:
        CannotRun: the machine cannot compile.
    """
    if COMPILE in item.added and not can_compile(torch.device(pick_device())):
        raise CannotRun("torch.compile has no compiler here")
    if TINY not in item.added:
        return item.added
    return tuple(f"model.tiny_vae={tiny_vae or taught()}" if word == TINY else word for word in item.added)


def taught() -> Path:
    """A small decoder that is taught once and kept for later runs."""
    from small_decoder import teach

    folder = Path(tempfile.gettempdir()) / "safediffusion-world-tiny-vae"
    return folder if (folder / "config.json").exists() else teach(folder)


def compare(item: Item, pairs: int, rounds: int, tiny_vae: Path | None = None) -> dict[str, Any]:
    """Ratios of seconds with to without, one per pair, by phase and for the round; or why there are none."""
    about = {"without": item.without, "added": item.added}
    try:
        settings = (*item.without, *filled(item, tiny_vae))
        rows = [(measured(item.without, rounds), measured(settings, rounds)) for _ in range(pairs)]
    except CannotRun as reason:
        return about | {"missing": str(reason)}
    ratios = {
        phase: Mean.of([own["seconds"][phase] / base["seconds"][phase] for base, own in rows])
        for phase in PHASES
        if all(row["seconds"].get(phase) for pair in rows for row in pair)
    }
    ratios["round"] = Mean.of([seconds(own) / seconds(base) for base, own in rows])
    ratios["peak memory"] = Mean.of([own["peak_memory_mib"] / base["peak_memory_mib"] for base, own in rows])
    return about | {
        "seconds_without": Mean.of([seconds(base) for base, _ in rows]).value,
        "ratios": as_json(ratios),
        "first_update_ratio_max_dev": max(own["first_update_ratio_max_dev"] or 0 for _, own in rows),
    }


def seconds(row: dict[str, Any]) -> float:
    """Of a whole round."""
    return sum(row["seconds"].values())


def table(result: dict[str, Any]) -> str:
    """One row per item: seconds with it divided by seconds without, or why it was not measured."""
    kinds = (*PHASES, "round", "peak memory")
    rows = []
    for name, item in result["items"].items():
        setting = " ".join(f"`{word}`" for word in item["added"])
        if "missing" in item:
            rows.append((name, setting, *[""] * len(PHASES), f"not measured: {item['missing']}", ""))
            continue
        ratios = item["ratios"]
        cells = {kind: f"{ratios[kind]['value']:.2f}" if kind in ratios else "-" for kind in kinds}
        values = ratios["round"]["seeds"]
        cells["round"] += f" ({min(values):.2f} to {max(values):.2f})"
        rows.append((name, setting, *cells.values()))
    return markdown(("item", "setting", *kinds), rows)


def main() -> None:
    """Measure the items of the command line; earlier ones stay in the result."""
    parser = argparse.ArgumentParser(description="What each way to train faster saves, one at a time.")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(ITEMS), default=list(ITEMS), metavar="NAME")
    parser.add_argument(
        "--tiny-vae", type=Path, help="an AutoencoderTiny for World, instead of one of our own"
    )
    words = parser.parse_args()
    path = RESULTS / "items.json"
    known = json.loads(path.read_text(encoding="utf-8"))["items"] if path.exists() else {}
    for name in words.only:
        known[name] = compare(ITEMS[name], words.pairs, words.rounds, words.tiny_vae)
        result = {
            "command": f"python benchmarks/items.py --pairs {words.pairs} --rounds {words.rounds}",
            "pairs": words.pairs,
            "rounds": words.rounds,
            "items": {n: known[n] for n in ITEMS if n in known},
        }
        write_result("items", result)
    print(f"\n{table(json.loads(path.read_text(encoding='utf-8')))}\n{path}")


if __name__ == "__main__":
    main()
