"""What each way to train faster saves on this machine, one at a time: rounds with and without it, in turn.

    python benchmarks/items.py [--pairs 2] [--rounds 3] [--only NAME ...]

Every measurement is a process of its own (benchmarks/families.py) on the embedded model, with and without the
item in turn, so that drift of the machine hits both. Compiling is not counted. Writes results/items.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_runs import RESULTS, as_json, markdown, write_result
from training_runs import Estimate as Mean

FAMILIES = Path(__file__).with_name("families.py")
EVERY_STEP = ("train.timestep_fraction=1.0",)
NFT = ("train.algorithm=nft",)


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
    "compile, nft": Item(NFT, ("train.compile=true",)),
    "compile, grpo": Item((), ("train.compile=true",)),
    "channels last": Item(NFT, ("train.channels_last=true",)),
    "a share of the steps": Item(EVERY_STEP, ("train.timestep_fraction=0.3",)),
    "a window": Item(EVERY_STEP, ("train.window=2",)),
    "branches before the window": Item((*EVERY_STEP, "train.window=2"), ("rollout.branches=3",)),
    "no guidance in the update": Item((), ("train.cfg_update=false",)),
}


def measured(settings: Sequence[str], rounds: int) -> dict[str, Any]:
    """A row of families.py."""
    command = [sys.executable, str(FAMILIES), "--one", "world", "--rounds", str(rounds)]
    command += ["--set", *settings] if settings else []
    print(f"$ {' '.join(command[1:])}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(item: Item, pairs: int, rounds: int) -> dict[str, Any]:
    """Ratios of seconds with to without, one per pair, by phase and for the round."""
    rows = [
        (measured(item.without, rounds), measured((*item.without, *item.added), rounds)) for _ in range(pairs)
    ]
    phases = ("sample", "update")
    ratios = {
        phase: Mean.of([own["seconds"][phase] / base["seconds"][phase] for base, own in rows])
        for phase in phases
    }
    ratios["round"] = Mean.of([seconds(own) / seconds(base) for base, own in rows])
    ratios["peak memory"] = Mean.of([own["peak_memory_mib"] / base["peak_memory_mib"] for base, own in rows])
    return {
        "without": item.without,
        "added": item.added,
        "seconds_without": Mean.of([seconds(base) for base, _ in rows]).value,
        "ratios": as_json(ratios),
        "first_update_ratio_max_dev": max(own["first_update_ratio_max_dev"] or 0 for _, own in rows),
    }


def seconds(row: dict[str, Any]) -> float:
    """The ratio of a whole round."""
    return sum(row["seconds"].values())


def table(result: dict[str, Any]) -> str:
    """One row per item: seconds with it divided by seconds without."""
    kinds = ("sample", "update", "round", "peak memory")
    rows = []
    for name, item in result["items"].items():
        low_high = item["ratios"]["round"]["seeds"]
        cells = [f"{item['ratios'][kind]['value']:.2f}" for kind in kinds]
        cells[2] += f" ({min(low_high):.2f} to {max(low_high):.2f})"
        rows.append((name, " ".join(f"`{word}`" for word in item["added"]), *cells))
    return markdown(("item", "setting", *kinds), rows)


def main() -> None:
    """Measure the items of the command line; earlier ones stay in the result."""
    parser = argparse.ArgumentParser(description="What each way to train faster saves, one at a time.")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(ITEMS), default=list(ITEMS), metavar="NAME")
    words = parser.parse_args()
    path = RESULTS / "items.json"
    known = json.loads(path.read_text(encoding="utf-8"))["items"] if path.exists() else {}
    for name in words.only:
        known[name] = compare(ITEMS[name], words.pairs, words.rounds)
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
