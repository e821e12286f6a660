"""Images lent to unsafe groups on World: by neighbouring prompts, by activation steering, by both, by none.

    python benchmarks/lending.py [--seeds 0 1 2] [--only NAME ...] [--runs DIR] [--short]
        [--set key=value ...]

Every variant is recipe `world` with groups of eight, and other shares of rollout.neighbours and
rollout.steered. Finished runs are reused and interrupted ones resumed. Writes benchmarks/results/lending.json
of the variants that were asked for. `--short` runs two rounds with a few images, to see that everything
works; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from training_runs import Estimate, Summary, as_json, borrow_before, markdown, train, write_result

from safediffusion.config import load_config
from safediffusion.files.run_folder import RunFolder
from safediffusion.world.scenes import CATEGORIES

RECIPE = "world"
SHARES = {  # neighbours, steered
    "none": (0.0, 0.0),
    "neighbours 1/4": (0.25, 0.0),
    "neighbours 1/2": (0.5, 0.0),
    "steered 1/4": (0.0, 0.25),
    "steered 1/2": (0.0, 0.5),
    "steered 3/4": (0.0, 0.75),
    "both 1/4": (0.25, 0.25),
    "both 3/8": (0.375, 0.375),
}
VARIANTS = {
    name: (f"rollout.neighbours={near:g}", f"rollout.steered={steered:g}")
    for name, (near, steered) in SHARES.items()
} | {
    "steered 1/2, strength 1": ("rollout.neighbours=0", "rollout.steered=0.5", "rollout.steering_strength=1")
}
GROUPS = ("rollout.group_size=8", "rollout.prompts=8")  # with pairs, nothing but a half could be lent
SHORT = (
    "train.steps=2", "train.checkpoint_every=1", "rollout.prompts=4", "rollout.steps=2", "evaluate.n=14",
    "evaluate.steps=2",
)  # fmt: skip
UNSAFE = "world-i2p/inappropriate_rate"
COLUMNS = {  # metric: title and digits; safety first, then quality
    UNSAFE: ("inappropriate", 3),
    f"{UNSAFE}/explicit": ("explicit", 3),
    f"{UNSAFE}/implicit": ("implicit", 3),
    **{f"{UNSAFE}/{category}": (category, 2) for category in CATEGORIES},
    "world-exposed/total": ("exposed parts", 0),
    "world-geneval/overall": ("composition", 3),
    "world-benign/clip_t": ("CLIP-T", 2),
    "world-benign/fid": ("FID", 2),
    "world-i2p/unrecognisable_rate": ("unrecognisable", 3),
}


def estimates(summaries: Sequence[Summary], when: str) -> dict[str, Estimate]:
    """Every column over the seeds, before or after training; the base model has no spread."""
    runs = summaries[:1] if when == "before" else summaries
    return {metric: Estimate.of([run[when][metric] for run in runs]) for metric in COLUMNS}


def table(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """One row per variant, the base model first."""
    rows = [
        (name, *(own[metric].show(digits) for metric, (_, digits) in COLUMNS.items()))
        for name, own in found.items()
    ]
    return markdown(("lent", *(title for title, _ in COLUMNS.values())), rows)


def main() -> None:
    """Train what is missing, print the table after each variant, write the JSON."""
    parser = argparse.ArgumentParser(description="Ways to lend safe images to unsafe groups, on World.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--runs", type=Path, help="folder of the run folders; runs/lending by default")
    parser.add_argument("--short", action="store_true", help="two rounds with a few images")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", dest="settings")
    asked = parser.parse_args()
    name = "lending_short" if asked.short else "lending"
    settings = [*GROUPS, *(SHORT if asked.short else ("evaluate.n=140",)), *asked.settings]
    runs = asked.runs or Path("runs") / name.replace("_", "-")
    found: dict[str, dict[str, Estimate]] = {}
    seconds: dict[str, Estimate] = {}
    for variant in asked.only:
        summaries = []
        for seed in asked.seeds:
            words = [*settings, *VARIANTS[variant], f"seed={seed}"]
            out = runs / "".join(c if c.isalnum() else "-" for c in variant) / f"seed-{seed}"
            borrow_before(load_config(RECIPE, words), RunFolder(out))
            summaries.append(train(RECIPE, words, out))
        found.setdefault("base model", estimates(summaries, "before"))
        found[variant] = estimates(summaries, "after")
        seconds[variant] = Estimate.of([run["train_seconds"] for run in summaries])
        print(f"\n{table(found)}", flush=True)
    path = write_result(
        name,
        {
            "command": f"python benchmarks/lending.py{' --short' if asked.short else ''}",
            "seeds": asked.seeds,
            "settings": settings,
            "variants": {variant: VARIANTS[variant] for variant in asked.only},
            "estimates": {variant: as_json(own) for variant, own in found.items()},
            "train_seconds": as_json(seconds),
        },
    )
    print(path)


if __name__ == "__main__":
    main()
