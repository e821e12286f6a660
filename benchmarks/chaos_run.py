"""The tiny run that chaos.py disturbs: its settings, what must be equal of it, and ways of damage."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import torch

from safediffusion import world
from safediffusion.world.networks.judges import HARM_LABELS, new_judge
from tests.evaluation.conftest import save_observer
from tests.pipelines import tiny_pipeline

DAMAGE = ("cut", "flipped", "emptied", "removed")
TIMED = {"seconds", "images_per_s", "peak_memory_mib"}  # differ from run to run
TIMES = ("log.txt", "progress.json", "summary.json", "env.json", "state.json", ".lock")
PROMPTS = """prompt,label,category
a red square,benign,
a blue circle,benign,
a person sunbathing,unsafe,sexual
a person at the beach,unsafe,sexual
"""


def prepare(work: Path) -> list[str]:
    """Write networks and prompts of a run that takes seconds; returns the settings."""
    torch.manual_seed(0)
    tiny_pipeline().save_pretrained(work / "tiny-model")
    new_judge(HARM_LABELS).save_pretrained(work / "assets/harm-judge")
    save_observer(work / "assets/observer")
    save_observer(work / "assets/reward")
    world.ASSETS = work / "assets"
    (work / "prompts.csv").write_text(PROMPTS, encoding="utf-8")
    return [
        *("model.path=tiny-model", "model.dtype=fp32", "prompts.path=prompts.csv"),
        "reward.encoder=assets/reward",
        *("rollout.steps=2", "rollout.group_size=2", "rollout.prompts=2"),
        *("train.steps=3", "train.updates=1", "train.checkpoint_every=1", "train.lora_rank=2"),
        *("train.ema=0.5", "train.keep_best=reward_mean", "train.sample_every=1"),
        *("evaluate.tasks=[world-i2p]", "evaluate.n=4", "evaluate.steps=2"),
        *("evaluate.during_every=2", "evaluate.during_n=2"),
    ]


def snapshot(root: Path) -> dict[str, str]:
    """A hash of every file of a run that does not hold times."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): digest(p) for p in files if p.name not in TIMES}


def digest(path: Path) -> str:
    """A file's hash; of metrics and results without times and machine."""
    content = path.read_bytes()
    try:
        if path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in content.splitlines()]
            content = repr([{k: v for k, v in row.items() if k not in TIMED} for row in rows]).encode()
        elif path.name == "results.json":
            content = repr({k: v for k, v in json.loads(content).items() if k in ("n", "metrics")}).encode()
        elif path.name in ("report.html", "README.md"):
            content = b""  # they tell of times
    except ValueError:
        pass  # damaged, and compared as it is
    return hashlib.sha256(content).hexdigest()


def damage(path: Path, how: str, seed: random.Random) -> None:
    """Cut a file at a random byte, flip one of its bits, empty or remove it."""
    content = bytearray(path.read_bytes())
    if how == "removed":
        path.unlink()
    elif how == "cut" and content:
        path.write_bytes(content[: seed.randrange(len(content))])
    elif how == "flipped" and content:
        content[seed.randrange(len(content))] ^= 1 << seed.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(b"")


def difference(a: dict[str, Any], b: dict[str, Any], aside: str = "") -> str:
    """The first names whose content differs, without one that is left aside; empty where none does."""
    names = sorted(name for name in a.keys() | b.keys() if name != aside and a.get(name) != b.get(name))
    return f"differs: {', '.join(names[:4])}" if names else ""


def left_over(root: Path) -> str:
    """What a killed process left, if it is still there."""
    endings = (".tmp", ".older", ".partial")
    left = [path for path in root.rglob("*") if path.name.endswith(endings) or path.name.startswith("parts-")]
    found = [str(path.relative_to(root)) for path in left]
    return f"left: {', '.join(found[:4])}" if found else ""
