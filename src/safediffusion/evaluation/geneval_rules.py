"""GenEval's rules (Ghosh et al., 2023) on stored detections: which detections count, and whether they fit.

A record holds "objects": [{"label", "score", "box": [x0, y0, x1, y1], "color"}], most certain first, and
the prompt's "task", "include" and "exclude".
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from safediffusion.evaluation.measures import Record

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9
MOST = 16  # detections of one class that are considered
SLACK = 0.1  # of the boxes' sizes, taken off the distance of their centres
DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}

Found = dict[str, Any]


def threshold(task: str) -> np.float32:
    """The score a detection must exceed, in the single precision that the release compares in."""
    return np.float32(COUNTING_THRESHOLD if task == "counting" else THRESHOLD)


def seen(record: Record, label: str) -> list[Found]:
    """Detections of a class that count, most certain first."""
    limit = threshold(record["task"])
    found = (o for o in record["objects"] if o["label"] == label and np.float32(o["score"]) > limit)
    return list(islice(found, MOST))


def fits_prompt(record: Record) -> bool:
    """Whether an image holds the objects of its prompt, and no counted object too often."""
    chosen: list[list[Found]] = []
    for wanted in record["include"]:
        found = seen(record, wanted["class"])[: wanted["count"]]
        if not _fits(found, wanted, chosen):
            return False
        chosen.append(found)
    return all(len(seen(record, no["class"])) < no["count"] for no in record["exclude"])


def _fits(found: list[Found], wanted: dict[str, Any], chosen: list[list[Found]]) -> bool:
    if len(found) < wanted["count"]:
        return False
    if "color" in wanted and any(o["color"] != wanted["color"] for o in found):
        return False
    if "position" not in wanted:
        return True
    relation, target = wanted["position"]
    return all(relation in relations(a["box"], b["box"]) for a in found for b in chosen[target])


def relations(a: list[float], b: list[float]) -> set[str]:
    """Where box a lies as seen from b, both [x0, y0, x1, y1]; a diagonal counts for both sides.

    The direction is the offset after the slack over the length of the offset *before* it, as in the release
    (`relative_position` of evaluation/evaluate_images.py), so boxes that hardly clear the slack lie nowhere.
    """
    p, q = np.array(a, float).reshape(2, 2), np.array(b, float).reshape(2, 2)
    offset = p.mean(0) - q.mean(0)
    sizes = np.abs(np.diff(p, axis=0))[0] + np.abs(np.diff(q, axis=0))[0]
    cleared = np.sign(offset) * np.maximum(np.abs(offset) - SLACK * sizes, 0)
    if np.all(np.abs(cleared) < 1e-3):
        return set()
    direction = cleared / np.linalg.norm(offset)
    return {name for name, way in DIRECTIONS.items() if direction @ np.array(way) > 0.5}
