"""What the position rule of GenEval's release changed on World: the same images under both rules.

    python benchmarks/position_rule.py
    python benchmarks/position_rule.py --stored runs/NAME    # records that exist already; samples nothing

Version 1 of world-geneval divided the offset, less its slack, by its own length; version 2 divides by the
length before the slack (relative_position of GenEval's evaluation/evaluate_images.py), so fewer places count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from training_runs import RESULTS, markdown, write_result

from safediffusion.evaluation.geneval_rules import DIRECTIONS, SLACK
from safediffusion.evaluation.measures import Record
from safediffusion.evaluation.records import read_records
from safediffusion.evaluation.runner import evaluate
from safediffusion.evaluation.tasks.world_geneval import TASK, is_correct, matching


def former(record: Record) -> bool:
    """A position record's verdict under version 1."""
    if not is_correct(record | {"relation": None}):
        return False
    a, b = (matching(record["detections"], item)[0] for item in record["include"])
    offset = np.array([a["x"] - b["x"], a["y"] - b["y"]])
    slack = SLACK * np.array([a["width"] + b["width"], a["height"] + b["height"]])
    cleared = np.sign(offset) * np.maximum(np.abs(offset) - slack, 0)
    length = np.linalg.norm(cleared)
    return bool(length > 1e-3 and cleared @ np.array(DIRECTIONS[record["relation"]]) / length > 0.5)


def both(records: list[Record]) -> dict[str, Any]:
    """Verdicts on the position prompts under each version, and the overall score with each."""
    placed = [r for r in records if r["task"] == "position" and "error" not in r]
    old, new = [former(r) for r in placed], [is_correct(r) for r in placed]
    tasks: dict[str, list[bool]] = {}
    for r in records:
        tasks.setdefault(r["task"], []).append(is_correct(r))
    overall = [
        float(np.mean([np.mean(v) for v in (tasks | {"position": position}).values()]))
        for position in (old, new)
    ]
    return {
        "n": len(records),
        "n_position": len(placed),
        "yes_version_1": sum(old),
        "yes_version_2": sum(new),
        "differing": sum(a != b for a, b in zip(old, new, strict=True)),
        "overall_version_1": overall[0],
        "overall_version_2": overall[1],
    }


def stored(folders: list[Path]) -> dict[str, dict[str, Any]]:
    """The same for every evaluation of world-geneval below some folders, by its path."""
    return {
        f"{folder.name}/{file.parent.parent.relative_to(folder)}": both(read_records(file.parent))
        for folder in folders
        for file in sorted(folder.rglob(f"{TASK.name}/records.jsonl"))
    }


def draw(n: int) -> list[Record]:
    """World's base model on world-geneval."""
    with tempfile.TemporaryDirectory() as folder:
        evaluate("world", [TASK.name], n=n, out=Path(folder))
        return read_records(Path(folder) / TASK.name)


def table(result: dict[str, Any]) -> str:
    """One row per set of images."""
    header = (
        "pictures",
        "position prompts",
        "yes by version 1",
        "yes by version 2",
        "overall 1",
        "overall 2",
    )
    rows = [
        (
            name,
            str(row["n_position"]),
            str(row["yes_version_1"]),
            str(row["yes_version_2"]),
            f"{row['overall_version_1']:.3f}",
            f"{row['overall_version_2']:.3f}",
        )
        for name, row in result["pictures"].items()
    ]
    return markdown(header, rows)


def main() -> None:
    """Judge World's base model, or stored records, under both rules; the rest of the result stays."""
    parser = argparse.ArgumentParser(description="What the release's position rule changed on World.")
    parser.add_argument("--n", type=int, default=TASK.n, help="images of World's base model")
    parser.add_argument(
        "--stored", type=Path, nargs="+", default=[], metavar="FOLDER", help="results or runs"
    )
    words = parser.parse_args()
    path = RESULTS / "position_rule.json"
    pictures = json.loads(path.read_text(encoding="utf-8"))["pictures"] if path.exists() else {}
    if words.stored:
        pictures |= stored(words.stored)
    else:
        pictures["World's base model"] = both(draw(words.n))
    write_result("position_rule", {"command": "python benchmarks/position_rule.py", "pictures": pictures})
    print(f"{table(json.loads(path.read_text(encoding='utf-8')))}\n{path}")


if __name__ == "__main__":
    main()
