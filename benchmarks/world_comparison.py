"""GRPO and NFT, three rewards, six strengths of steering, five ablations, side by side on World, over seeds.

    python benchmarks/world_comparison.py [--seeds 0 1 2] [--only NAME ...] [--runs DIR] [--set key=value ...]

A finished run is a line of benchmarks/results/world_comparison.jsonl and is not run again while its settings
are the same, even without its run folder. Interrupted runs are resumed. Several of these commands may run at
the same time on different variants or seeds. Writes world_comparison.md of the variants
that have all their seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_runs import RESULTS, Estimate, borrow_before, markdown, train

from safediffusion.config import load_config
from safediffusion.files.atomic import write_text
from safediffusion.files.json_lines import read_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.system.device import environment


@dataclass(frozen=True)
class Variant:
    """A recipe with a few settings of its own."""

    recipe: str
    settings: tuple[str, ...]


# Steering with alpha 0 is the plain CLIP reward to the last bit (a test of the steering folder), so
# the row `nft-clip` stands for both and is trained once.
ROUNDS = "train.steps=30"
NFT = (
    ROUNDS, "train.algorithm=nft", "train.ema=0.97", "rollout.group_size=12", "train.kl_benign=1",
    "train.lr=2e-3", "train.lr_schedule=constant", "train.grad_norm=1", "prompts.path=world",
)  # fmt: skip
SETTINGS = ["evaluate.n=140"]
VARIANTS = {
    "nft-clip": Variant("world", (*NFT, "reward.kind=clip")),
    "nft-negative-clip": Variant("world", (*NFT, "reward.kind=negative-clip")),
    **{
        f"nft-steering-{a:g}": Variant("world", (*NFT, f"reward.alpha={a:g}"))
        for a in (0.3, 0.5, 0.7, 1.0, 2.0)
    },
    "nft-negative-clip-no-kl": Variant(
        "world", (*NFT, "reward.kind=negative-clip", "train.kl=0", "train.kl_benign=0")
    ),
    "nft-steering-1-no-kl": Variant("world", (*NFT, "train.kl=0", "train.kl_benign=0")),
    "nft-full": Variant("world", (*NFT, "train.lora_rank=0", "train.lr=4e-4")),
    "nft-lends-nothing": Variant("world", (*NFT, "rollout.neighbours=0")),
    "nft-one-kl": Variant("world", (*NFT, "train.kl_benign=null")),
    "grpo-clip": Variant("world-grpo", (ROUNDS, "reward.kind=clip")),
    "grpo-negative-clip": Variant("world-grpo", (ROUNDS, "reward.kind=negative-clip")),
    "grpo-steering-1": Variant("world-grpo", (ROUNDS, "reward.alpha=1")),
}
ALIASES = {"nft-clip": "nft-clip (alpha 0)", "grpo-clip": "grpo-clip (alpha 0)"}
COLUMNS = {  # safety first, then quality
    "world-i2p/inappropriate_rate": ("inappropriate", 3),
    "world-exposed/total": ("exposed parts", 0),
    "world-i2p/unrecognisable_rate": ("unrecognisable", 3),
    "world-geneval/overall": ("composition", 3),
    "world-benign/clip_t": ("CLIP-T", 2),
    "world-benign/fid": ("FID", 2),
    "world-benign/person_rate": ("person", 3),
}


Row = dict[str, Any]  # a line of the records: one finished run
RECORDS = RESULTS / "world_comparison.jsonl"


def record(name: str, seed: int, words: list[str], root: Path) -> Row:
    """What the table needs of a finished run, and what it was run with."""
    summary = json.loads(RunFolder(root).summary.read_text(encoding="utf-8"))
    rows = read_jsonl(RunFolder(root).metrics)
    passes = sum(row["passes"]["forward"] + row["passes"]["backward"] for row in rows)
    return {
        "variant": name,
        "seed": seed,
        "recipe": VARIANTS[name].recipe,
        "settings": words,
        "rounds": len(rows),
        "passes_per_image": passes / summary["images"],
        "collapsed_at": summary["collapsed_at"],
        "before": {metric: summary["before"][metric] for metric in COLUMNS},
        "after": {metric: summary["after"][metric] for metric in COLUMNS},
        "env": environment(),
    }


def words_of(name: str, seed: int, settings: Sequence[str]) -> list[str]:
    """The settings of a run."""
    return [*VARIANTS[name].settings, *settings, f"seed={seed}"]


def finished(records: Sequence[Row], seeds: Sequence[int], settings: Sequence[str]) -> dict[str, list[Row]]:
    """The records of all variants that have one for every seed, with these settings."""
    found = {(row["variant"], row["seed"]): row for row in records if as_asked(row, settings)}
    return {
        name: [found[name, seed] for seed in seeds]
        for name in VARIANTS
        if all((name, seed) in found for seed in seeds)
    }


def as_asked(row: Row, settings: Sequence[str]) -> bool:
    """Whether a record is of the variant as it is defined now."""
    name = row["variant"]
    return name in VARIANTS and row["settings"] == words_of(name, row["seed"], settings)


def table(runs: dict[str, list[Row]]) -> str:
    """One row per variant, the base model first."""
    header = ("variant", *(title for title, _ in COLUMNS.values()), "passes an image", "collapsed")
    base = next(iter(runs.values()))
    rows = [["base", *(estimate(base, "before", m).show(d) for m, (_, d) in COLUMNS.items()), "", ""]]
    for name, own in runs.items():
        collapsed = sum(row["collapsed_at"] is not None for row in own)
        cells = [estimate(own, "after", metric).show(digits) for metric, (_, digits) in COLUMNS.items()]
        passes = Estimate.of([row["passes_per_image"] for row in own])
        rows.append([ALIASES.get(name, name), *cells, f"{passes.value:.0f}", f"{collapsed} of {len(own)}"])
    return markdown(header, rows)


def estimate(rows: Sequence[Row], when: str, metric: str) -> Estimate:
    """A column over the seeds, before or after training; the base model is evaluated once: no spread."""
    values = [row[when][metric] for row in rows]
    return Estimate.of(values if len(set(values)) > 1 or when == "after" else values[:1])


def write(runs: dict[str, list[Row]], seeds: Sequence[int], settings: Sequence[str]) -> str:
    """The Markdown file; returns the table."""
    text = table(runs)
    write_text(
        RECORDS.with_suffix(".md"),
        f"# World, {len(seeds)} seeds: mean [95% interval over seeds] after training\n\n"
        f"`python benchmarks/world_comparison.py`: seeds {', '.join(map(str, seeds))}; "
        f"{' '.join(settings)}\n\n"
        f"{text}",
    )
    return text


def main() -> None:
    """Train what is missing, writing the table again after every run."""
    parser = argparse.ArgumentParser(description="Algorithms, rewards and alphas side by side on World.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="VARIANT"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/world-comparison"))
    parser.add_argument("--set", nargs="+", default=SETTINGS, metavar="key=value", dest="settings")
    asked = parser.parse_args()
    for seed in asked.seeds:
        for name in asked.only:
            words = words_of(name, seed, asked.settings)
            known = finished(read_jsonl(RECORDS), [seed], asked.settings)
            if name not in known:
                out = asked.runs / name / f"seed-{seed}"
                borrow_before(load_config(VARIANTS[name].recipe, words), RunFolder(out))
                train(VARIANTS[name].recipe, words, out)
                with RECORDS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record(name, seed, words, out)) + "\n")
    if runs := finished(read_jsonl(RECORDS), asked.seeds, asked.settings):
        print(f"\n{write(runs, asked.seeds, asked.settings)}", flush=True)


if __name__ == "__main__":
    main()
