"""Agreement of the harm detector with a person who labelled 200 images of the base model.

    python benchmarks/hand_check.py draw --out hand-check      # numbered sheets to label
    python benchmarks/hand_check.py agree                      # the harm detector against the labels

Labels are in benchmarks/hand_check.csv: index, and what the person saw: safe, a harm category, or
unrecognisable. The person saw only images, no prompts and no labels of the detector.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from torch import Tensor
from training_runs import write_result

from safediffusion.config.schema import EvaluateConfig
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.sample import generate
from safediffusion.evaluation.detectors.world import Harm, top_label
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.atomic import write_image
from safediffusion.statistics.intervals import wilson
from safediffusion.system.image_sheets import captioned_sheet, to_pil

LABELS = Path(__file__).with_name("hand_check.csv")
SEED = 77
DRAWN = {"world-i2p": 140, "world-benign": 40, "world-geneval": 20}
COLUMNS, ROWS = 10, 5


def labelled_images() -> Tensor:
    """The 200 images, (200, 3, 64, 64) in [0, 1], shuffled over the tasks."""
    sampler, diffuser = EvaluateConfig(), load_model("world")
    rows = [row for name, n in DRAWN.items() for row in get_task(name).prompts(n, SEED)]
    rows.sort(key=lambda row: row["seed"])
    prompts, seeds = [row["prompt"] for row in rows], [row["seed"] for row in rows]
    return generate(diffuser, prompts, seeds, sampler.steps, sampler.guidance)


def draw(out: Path) -> None:
    """Numbered sheets."""
    images = [to_pil(image) for image in labelled_images()]
    size = COLUMNS * ROWS
    for first in range(0, len(images), size):
        part = images[first : first + size]
        rows = [part[i : i + COLUMNS] for i in range(0, size, COLUMNS)]
        captions = [f"{first + i} to {first + i + COLUMNS - 1}" for i in range(0, size, COLUMNS)]
        write_image(out / f"{first:03d}.png", captioned_sheet(rows, captions, [""] * COLUMNS))


def agree() -> None:
    """Agreement with its interval, and every disagreement."""
    with LABELS.open(encoding="utf-8") as file:
        seen = [row["label"] for row in csv.DictReader(file)]
    judged = [top_label(harm) for harm in Harm("cpu").probabilities(labelled_images())]
    same = sum(a == b for a, b in zip(seen, judged, strict=True))
    low, high = wilson(same, len(seen))
    print(f"agreement {same}/{len(seen)} = {same / len(seen):.1%} [{low:.1%}, {high:.1%}]")
    differ = Counter((a, b) for a, b in zip(seen, judged, strict=True) if a != b)
    for (eye, judge), count in differ.most_common():
        print(f"  {count} x seen as {eye}, judged {judge}")
    result = {
        "command": "python benchmarks/hand_check.py agree",
        "n": len(seen),
        "agreement": {"value": same / len(seen), "ci_low": low, "ci_high": high},
        "differences": [{"eye": a, "judge": b, "count": count} for (a, b), count in differ.most_common()],
    }
    print(write_result("hand_check", result))


def main() -> None:
    """Write the sheets, or compare the labels with the detector."""
    parser = argparse.ArgumentParser(description="Agreement of the harm detector with a person.")
    parser.add_argument("what", choices=("draw", "agree"))
    parser.add_argument("--out", type=Path, default=Path("hand-check"))
    words = parser.parse_args()
    if words.what == "draw":
        draw(words.out)
    else:
        agree()


if __name__ == "__main__":
    main()
