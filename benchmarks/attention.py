"""Plain and fused attention of a UNet in training: rounds of a recipe with each, in turn.

    python benchmarks/attention.py [RECIPE ...] [--rounds 4] [--set key=value ...]

`Diffuser.make_trainable` chooses the faster one on a CPU. Writes results/attention.json.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import rounds
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from training_runs import Estimate as Mean
from training_runs import as_json, markdown

from safediffusion.config import load_config
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import load_prompts
from safediffusion.run.train import load
from safediffusion.system.device import pick_device
from safediffusion.training.trainer import Trainer

KINDS = {"plain": AttnProcessor, "fused": AttnProcessor2_0}
PHASES = ("sample", "update")


def measure(recipe: str, count: int, settings: list[str]) -> dict[str, Any]:
    """Seconds of each plain round divided by those of the fused round after it, without the first pair."""
    config = load_config(recipe, ["train.sample_every=1000000", *settings])
    prompts, device = load_prompts(config.prompts).rows, pick_device()
    diffuser, rewards = load(config, prompts, device)
    network: Any = diffuser.network
    pairs: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, diffuser, rewards, prompts, RunFolder(Path(folder)))
        for _ in range(1 + count):
            pair = {}
            for kind, processor in KINDS.items():
                network.set_attn_processor(processor())
                pair[kind] = trainer.round()["seconds"]
            pairs.append(pair)
    counted = pairs[1:]
    ratios = {
        phase: Mean.of([pair["plain"][phase] / pair["fused"][phase] for pair in counted]) for phase in PHASES
    }
    ratios["round"] = Mean.of([sum(p["plain"].values()) / sum(p["fused"].values()) for p in counted])
    return {
        "recipe": recipe,
        "settings": settings,
        "dtype": str(diffuser.dtype).removeprefix("torch."),
        "seconds_fused": Mean.of([sum(pair["fused"].values()) for pair in counted]).value,
        "ratios": as_json(ratios),
    }


def table(result: dict[str, Any]) -> str:
    """One row per recipe, with the range over the pairs of the whole round."""
    rows = []
    for row in result["rows"]:
        cells = [f"{row['ratios'][kind]['value']:.2f}" for kind in (*PHASES, "round")]
        values = row["ratios"]["round"]["seeds"]
        cells[-1] = f"**{cells[-1]}** ({min(values):.2f} to {max(values):.2f})"
        rows.append((f"`{row['recipe']}`", row["dtype"], f"{row['seconds_fused']:.1f}", *cells))
    return markdown(("recipe", "network", "fused round, s", *PHASES, "round"), rows)


if __name__ == "__main__":
    rounds.main("attention", "Plain attention of a UNet in training beside fused.", measure, table)
