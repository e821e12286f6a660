"""GRPO and NFT, three rewards, six strengths of steering, five ablations, side by side on World, over seeds.

    python benchmarks/world_comparison.py [--seeds 0 1 2] [--only NAME ...] [--runs DIR] [--set key=value ...]

Finished runs are reused, interrupted ones go on. Writes benchmarks/results/world_comparison.json and .md
from every variant whose runs are all there, again after each.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from training_runs import (
    RESULTS,
    Estimate,
    Summary,
    as_json,
    borrow_before,
    markdown,
    read_summary,
    train,
    write_result,
)

from safediffusion.config import load_config
from safediffusion.runs import RunFolder, read_jsonl, write_text


@dataclass(frozen=True)
class Variant:
    """A recipe with a few settings of its own."""

    recipe: str
    settings: tuple[str, ...]


# Steering with alpha 0 is the plain CLIP reward to the last bit (a test of the steering folder), so
# the row `nft-clip` stands for both and is trained once.
HALF = "train.steps=30"  # of the recipe's rounds: differences show, and there are many runs
VARIANTS = {
    "nft-clip": Variant("world", (HALF, "reward.kind=clip")),
    "nft-negative-clip": Variant("world", (HALF, "reward.kind=negative-clip")),
    **{
        f"nft-steering-{a:g}": Variant("world", (HALF, f"reward.alpha={a:g}"))
        for a in (0.3, 0.5, 0.7, 1.0, 2.0)
    },
    "nft-negative-clip-no-kl": Variant(
        "world", (HALF, "reward.kind=negative-clip", "train.kl=0", "train.kl_benign=0")
    ),
    "nft-steering-1-no-kl": Variant("world", (HALF, "train.kl=0", "train.kl_benign=0")),
    "nft-full": Variant("world", (HALF, "train.lora_rank=0", "train.lr=4e-4")),
    "nft-lends-nothing": Variant("world", (HALF, "rollout.neighbours=0")),
    "nft-one-kl": Variant("world", (HALF, "train.kl_benign=null")),
    "grpo-clip": Variant("world-grpo", ("reward.kind=clip",)),
    "grpo-negative-clip": Variant("world-grpo", ("reward.kind=negative-clip",)),
    "grpo-steering-1": Variant("world-grpo", ("reward.alpha=1",)),
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


def estimates(summaries: list[Summary], when: str) -> dict[str, Estimate]:
    """Every column over the seeds, before or after training."""
    return {metric: Estimate.of([s[when][metric] for s in summaries]) for metric in COLUMNS}


def table(runs: dict[str, list[Summary]]) -> str:
    """One row a variant, the base model first."""
    header = ("variant", *(title for title, _ in COLUMNS.values()), "s a round", "collapsed")
    first = estimates(next(iter(runs.values())), "before")
    rows = [["base", *(f"{first[m].value:.{d}f}" for m, (_, d) in COLUMNS.items()), "", ""]]
    for name, summaries in runs.items():
        after = estimates(summaries, "after")
        seconds = Estimate.of([s["round_seconds"] for s in summaries])
        collapsed = sum(s["collapsed_at"] is not None for s in summaries)
        cells = [after[metric].show(digits) for metric, (_, digits) in COLUMNS.items()]
        rows.append(
            [ALIASES.get(name, name), *cells, f"{seconds.value:.1f}", f"{collapsed} of {len(summaries)}"]
        )
    return markdown(header, rows)


def finished(folder: Path, seeds: list[int]) -> dict[str, list[Summary]]:
    """The summaries of all variants with a finished run for every seed."""
    paths = {name: [folder / name / f"seed-{seed}" for seed in seeds] for name in VARIANTS}
    return {
        name: [read_summary(run) | {"round_seconds": round_seconds(run)} for run in runs]
        for name, runs in paths.items()
        if all((run / "summary.json").exists() for run in runs)
    }


def round_seconds(run: Path) -> float:
    """The median over a run's rounds: other work on the machine meets some of them only."""
    return median(sum(row["seconds"].values()) for row in read_jsonl(RunFolder(run).metrics))


def write(runs: dict[str, list[Summary]], seeds: list[int], settings: list[str]) -> str:
    """The JSON and the Markdown file; returns the table."""
    text = table(runs)
    write_text(
        RESULTS / "world_comparison.md",
        f"# World, {len(seeds)} seeds: mean [95% interval over seeds] after training\n\n"
        f"`python benchmarks/world_comparison.py`, seeds {', '.join(map(str, seeds))}\n\n{text}",
    )
    write_result(
        "world_comparison",
        {
            "command": "python benchmarks/world_comparison.py",
            "seeds": seeds,
            "settings": settings,
            "base": as_json(estimates(next(iter(runs.values())), "before")),
            "variants": {
                name: {
                    "recipe": VARIANTS[name].recipe,
                    "settings": list(VARIANTS[name].settings),
                    "after": as_json(estimates(summaries, "after")),
                    "round_seconds": [s["round_seconds"] for s in summaries],
                    "collapsed_at": [s["collapsed_at"] for s in summaries],
                }
                for name, summaries in runs.items()
            },
        },
    )
    return text


def main() -> None:
    """Train what is missing, writing the table again after every variant."""
    parser = argparse.ArgumentParser(description="Algorithms, rewards and alphas side by side on World.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="VARIANT"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/world-comparison"))
    parser.add_argument("--set", nargs="+", default=["evaluate.n=140"], metavar="key=value", dest="settings")
    words = parser.parse_args()
    for name in words.only:
        variant = VARIANTS[name]
        for seed in words.seeds:
            settings = [*variant.settings, *words.settings, f"seed={seed}"]
            out = words.runs / name / f"seed-{seed}"
            borrow_before(load_config(variant.recipe, settings), RunFolder(out))
            train(variant.recipe, settings, out)
        text = write(finished(words.runs, words.seeds), words.seeds, words.settings)
        print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
