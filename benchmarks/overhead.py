"""The share of a training round that is spent in networks, and the share around them.

    python benchmarks/overhead.py [RECIPE ...] [--rounds 4] [--set key=value ...]

Networks are the policy forward and back, the decoder, the reward's encoder and the collapse alarm's detector.
Around them are the sampler's arithmetic, noise, advantages, the loss, image preprocessing and statistics.
Optimizer steps are counted apart: they cost the same for any number of images. Writes results/overhead.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import rounds
import torch
from training_runs import Estimate as Mean
from training_runs import as_json, markdown

from safediffusion.config import load_config
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import load_prompts
from safediffusion.run.rounds import recogniser
from safediffusion.run.train import load
from safediffusion.system.device import pick_device
from safediffusion.training.trainer import Trainer

PARTS = ("network forward", "network backward", "decoder", "encoder", "judge", "optimizer")
AROUND = "around them"


class Timer:
    """Seconds by part; the device is synchronised around each call, so that parts do not overlap."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.seconds: dict[str, float] = {}

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its seconds counted."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = self.now()
            result = call(*arguments, **named)
            self.seconds[part] = self.seconds.get(part, 0.0) + self.now() - start
            return result

        return timed

    def now(self) -> float:
        """The clock in seconds, after the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return perf_counter()


def measure(recipe: str, count: int, settings: list[str]) -> dict[str, Any]:
    """Shares of a recipe's rounds, one value per round; the first is not counted."""
    config = load_config(recipe, ["train.sample_every=1000000", *settings])
    prompts, device = load_prompts(config.prompts).rows, pick_device()
    diffuser, rewards = load(config, prompts, device)
    timer, judge = Timer(device), recogniser(config, device)
    recognisable = timer.timed("judge", judge) if judge else None
    shares: dict[str, list[float]] = {name: [] for name in (*PARTS, AROUND)}
    seconds = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        trainer = Trainer(
            config, diffuser, rewards, prompts, RunFolder(Path(folder)), recognisable=recognisable
        )
        encoder: Any = trainer.rewards.parts[0].function
        for part, owner, name in (
            ("network forward", diffuser.network, "forward"),
            ("network backward", torch.autograd, "backward"),
            ("decoder", diffuser.pipeline.vae.decoder, "forward"),
            ("encoder", encoder.encoder.model.vision_model, "forward"),
            ("optimizer", trainer.learner.optimizer, "step"),
        ):
            stack.enter_context(patch.object(owner, name, timer.timed(part, getattr(owner, name))))
        trainer.round()
        for _ in range(count):
            timer.seconds = {}
            total = sum(trainer.round()["seconds"].values())
            seconds.append(total)
            for part in PARTS:
                shares[part].append(timer.seconds.get(part, 0.0) / total)
            shares[AROUND].append(1 - sum(timer.seconds.values()) / total)
    return {
        "recipe": recipe,
        "settings": settings,
        "images": config.rollout.prompts * config.rollout.group_size,
        "seconds": Mean.of(seconds).value,
        "shares": as_json({name: Mean.of(values) for name, values in shares.items()}),
    }


def table(result: dict[str, Any]) -> str:
    """One row per recipe, in percent of a round, with the range over rounds of the share around networks."""
    rows = []
    for row in result["rows"]:
        means = [f"{100 * row['shares'][part]['value']:.1f}" for part in PARTS]
        around = row["shares"][AROUND]
        low, high = min(around["seeds"]), max(around["seeds"])
        means.append(f"**{100 * around['value']:.1f}** ({100 * low:.1f} to {100 * high:.1f})")
        rows.append((f"`{row['recipe']}`", f"{row['seconds']:.1f}", *means))
    return markdown(("recipe", "round, s", *(f"{part}, %" for part in PARTS), f"{AROUND}, %"), rows)


if __name__ == "__main__":
    rounds.main("overhead", "The share of a round that is spent around networks.", measure, table)
