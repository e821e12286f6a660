"""Speed against what a user would take instead, on World and on this machine.

    python benchmarks/peers.py                       # on a machine that does nothing else
    python benchmarks/peers.py --short               # whether it works
    python benchmarks/peers.py --only sampling --pairs 10

- sampling: plain diffusers (StableDiffusionPipeline with DDIM), from the same noise;
- training: the loop of ddpo-pytorch as TRL maintains it (DDPOTrainer), with the same images, denoising steps,
  optimizer steps and reward. Whether the original can be had is tried and said;
- detection: the package nudenet, on World's images enlarged to 512 pixels.

Both sides run in turn. A peer other than diffusers gets an environment of its own below --envs, made by pip
and used again. A peer that cannot be had is a row of the table that says why. Writes results/peers.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peer_subjects
from training_runs import RESULTS, Estimate, markdown, write_result

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        pairs: counted runs of each side.
        steps: numbers of denoising steps that are sampled.
        batches: numbers of images that are sampled together.
        images: of a training round, in groups of eight.
        training_steps: denoising steps of a training round.
        files: images that are searched by the detectors.
        envs: where the environments are kept.
    """

    pairs: int
    steps: tuple[int, ...]
    batches: tuple[int, ...]
    images: int
    training_steps: int
    files: int
    envs: Path


PARTS: dict[str, Callable[[Plan], list[Row]]] = {
    "sampling": lambda plan: peer_subjects.sampling(plan.steps, plan.batches, plan.pairs),
    "training": lambda plan: peer_subjects.training(plan.images, plan.training_steps, plan.pairs, plan.envs),
    "detection": lambda plan: peer_subjects.detection(plan.files, plan.pairs, plan.envs),
}


def table(result: dict[str, Any]) -> str:
    """One row per comparison; a peer that was not measured has its reason."""
    rows = []
    for part in result["parts"].values():
        for row in part:
            if "missing" in row:
                rows.append((row["what"], row["peer"], "", "", "", "", f"not measured: {row['missing']}"))
                continue
            speeds = [f"{row[side]['value']:.2f}" for side in ("ours_per_s", "theirs_per_s")]
            ratio = Estimate(**row["ratio"]).show(2)
            rows.append((row["what"], row["peer"], *speeds, f"**{ratio}**", str(row["n"]), row["agreement"]))
    header = ("work", "peer", "images/s", "peer's images/s", "times as fast [95%]", "n", "the same results?")
    return markdown(header, rows)


def parse(arguments: list[str] | None = None) -> tuple[Plan, list[str], str]:
    """The plan, the parts to measure and the name of the result."""
    parser = argparse.ArgumentParser(description="Speed against what a user would take instead.")
    parser.add_argument("--short", action="store_true", help="two pairs of little work")
    parser.add_argument("--pairs", type=int, default=None, help="counted runs of each side")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    place = Path(tempfile.gettempdir()) / "safediffusion-peers"
    parser.add_argument("--envs", type=Path, default=place, help="where the environments are kept")
    words = parser.parse_args(arguments)
    if words.short:
        plan = Plan(words.pairs or 2, (2,), (2,), 8, 2, 4, words.envs)
    else:
        plan = Plan(words.pairs or 8, (10, 16), (8, 32, 64), 32, 10, 32, words.envs)
    return plan, words.only, "peers_short" if words.short else "peers"


def main() -> None:
    """Measure the parts of the command line; those measured before stay in the result."""
    plan, parts, name = parse()
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    for part in parts:
        known[part] = PARTS[part](plan)
        result = {
            "command": shlex.join(["python", "benchmarks/peers.py", *sys.argv[1:]]),
            "pairs": plan.pairs,
            "parts": {one: known[one] for one in PARTS if one in known},
        }
        write_result(name, result)
    print(f"\n{table(json.loads(path.read_text(encoding='utf-8')))}\n{path}")


if __name__ == "__main__":
    main()
