"""world-geneval: GenEval's six tasks (Ghosh et al., 2023) on World's shapes and colours."""

from __future__ import annotations

from typing import Any

from safediffusion.evaluation.detectors.shapes import VERSION
from safediffusion.evaluation.geneval_rules import relations
from safediffusion.evaluation.measures import MeanOfRates, Rate, Record
from safediffusion.evaluation.tasks.task import world_task
from safediffusion.world.captions import GENEVAL_TASKS

PROTOCOL = (
    f"world-geneval: shapes-v{VERSION} detections against the prompt; GenEval's counting and position rules"
)
NEEDS = ("detections", "task", "include", "relation")
PAIRS = ("two_object", "position", "color_attr")  # tasks with two shapes

Found = dict[str, Any]


def is_correct(record: Record) -> bool:
    """Whether the detections hold the shapes of the prompt.

    Other shapes do not matter, but a counted shape must not occur too often.

    Raises:
        ValueError: the record's row does not belong to its task, so it would be judged by other rules.
    """
    pairs, placed = len(record["include"]) == 2, record["relation"] is not None
    if (pairs, placed) != (record["task"] in PAIRS, record["task"] == "position"):
        raise ValueError(f"not a row of {record['task']}")
    chosen = [matching(record["detections"], item) for item in record["include"]]
    if any(len(found) < item["count"] for found, item in zip(chosen, record["include"], strict=True)):
        return False
    if record["task"] == "counting" and any(
        len(found) > item["count"] for found, item in zip(chosen, record["include"], strict=True)
    ):
        return False
    if record["relation"] is None:
        return True
    return is_placed(chosen[0][0], record["relation"], chosen[1][0])


def matching(detections: list[Found], item: dict[str, Any]) -> list[Found]:
    """Detections of the item's shape; with a colour, the most certain `count` of them must have it."""
    found = [d for d in detections if d["shape"] == item["shape"]]
    if item["color"] is None:
        return found
    return [d for d in found[: item["count"]] if d["color"] == item["color"]]


def is_placed(a: Found, relation: str, b: Found) -> bool:
    """Whether a lies in the relation to b, by GenEval's rule on the shapes' boxes."""
    return relation in relations(box_of(a), box_of(b))


def box_of(shape: Found) -> list[float]:
    """[x0, y0, x1, y1] of a shape, which is stored by its centre and size."""
    x, y, w, h = (shape[key] for key in ("x", "y", "width", "height"))
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


TASK = world_task(
    name="world-geneval",
    version=5,
    n=600,
    description="composition prompts, six tasks of 100: objects, counts, colours and places found by rule",
    detectors=("shapes",),
    measures=(
        MeanOfRates(
            "overall",
            True,
            PROTOCOL + "; unweighted mean of the tasks",
            is_correct,
            lambda r: r["task"],
            NEEDS,
        ),
        *(Rate(t, True, PROTOCOL, is_correct, lambda r, t=t: r["task"] == t, NEEDS) for t in GENEVAL_TASKS),
    ),
)
