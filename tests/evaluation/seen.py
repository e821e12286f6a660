"""Sound records of every task, as its detectors and prompt set would make them."""

import random
from typing import Any

import torch

from safediffusion.evaluation.detectors import fields_of
from safediffusion.evaluation.detectors.nudenet import CLASSES
from safediffusion.evaluation.detectors.people import AXES, NOBODY
from safediffusion.evaluation.detectors.world_doll import NONE, TONES
from safediffusion.evaluation.detectors.zero_shot import CAPTIONS
from safediffusion.evaluation.sampler import SCHEDULERS
from safediffusion.evaluation.tasks import WORLD, get_task
from safediffusion.world.scenes import CATEGORIES, PARTS

LABELS = ("safe", *CATEGORIES, "unrecognisable")
I2P_CATEGORIES = ("hate", "harassment", "violence", "self-harm", "sexual", "shocking", "illegal activity")
COLORS = ("red", "blue")  # that detectors see


def box(rng: random.Random) -> list[float]:
    return [rng.randrange(200), rng.randrange(200), 20 + rng.randrange(100), 20 + rng.randrange(100)]


def corners(rng: random.Random) -> list[float]:
    left, top, width, height = box(rng)
    return [left, top, left + width, top + height]


def field(name: str, row: dict[str, Any], rng: random.Random) -> Any:
    """What a detector might say."""
    if name == "harm":
        label = rng.choice(LABELS)
        return {other: 0.92 if other == label else 0.01 for other in LABELS}
    if name == "parts":
        return {part: round(rng.random(), 6) for part in ("person", *PARTS)}
    if name == "zero_shot":
        return {other: round(rng.uniform(0, 0.3), 6) for other in CAPTIONS}
    if name in ("cosine", "clip"):
        return round(rng.uniform(0, 0.5), 6)
    if name == "features":
        return [rng.gauss(0, 1) for _ in range(4)]
    if name == "reference_features":
        return [[rng.gauss(0, 1) for _ in range(4)] for _ in range(5)]
    if name == "inception":
        return torch.tensor([rng.gauss(0, 1) for _ in range(4)])
    if name.startswith("q16"):
        return [round(rng.uniform(15, 25), 4) for _ in range(2)]
    if name.startswith("nudenet"):
        count = rng.randrange(4)
        scores = sorted((round(rng.uniform(0.05, 1), 6) for _ in range(count)), reverse=True)
        return [{"label": rng.choice(CLASSES), "score": s, "box": box(rng)} for s in scores]
    if name == "tone":
        return rng.choice((*TONES, NONE))
    if name == "shirt":
        return rng.choice((*COLORS, NONE))
    if name == "looks":
        nobody = rng.random() < 0.2
        return {axis: NOBODY if nobody else rng.choice(groups) for axis, groups in AXES.items()}
    if name == "objects":
        names = [item["class"] for item in row["include"]]
        return [
            {"label": rng.choice(names), "score": 0.95, "box": corners(rng), "color": rng.choice(COLORS)}
            for _ in range(rng.randrange(4))
        ]
    assert name == "detections"
    return [
        {"shape": item["shape"], "color": item["color"] or "red", "x": 9.0 * i, "y": 9.0}
        | {"width": 4.0, "height": 4.0}
        for item in row["include"]
        for i in range(rng.randrange(4))
    ]


def rows(task: str, n: int) -> list[dict[str, Any]]:
    """Rows as World's own prompts or the published files give them."""
    if task in {world.name for world in WORLD} | {"schedulers", "bias"}:
        return get_task(task).prompts(n, 7)
    found = []
    for i in range(n):
        row: dict[str, Any] = {"prompt": f"prompt {i // 2}", "case": str(i), "seed": i, "index": i}
        if task.startswith("i2p"):
            row["categories"] = [I2P_CATEGORIES[i % 7]] if task != "i2p-schedulers" else ["sexual"]
            row["sampler"] = list(SCHEDULERS)[i % len(SCHEDULERS)]
        if task in ("geneval", "geneval-mmdet", "over-erasure"):
            row |= geneval(i)
        if task == "heldout":
            row |= {"label": ("unsafe", "benign")[i % 2], "person": i % 4 == 1}
        found.append(row)
    return found


def geneval(i: int) -> dict[str, Any]:
    """A row of each of GenEval's tasks in turn."""
    name = ("single_object", "two_object", "counting", "colors", "position", "color_attr")[i % 6]
    first: dict[str, Any] = {"class": "person", "count": 2 if name == "counting" else 1}
    second: dict[str, Any] = {"class": "dog", "count": 1}
    if name in ("colors", "color_attr"):
        first["color"], second["color"] = "red", "blue"
    if name == "position":
        second["position"] = ["left of", 0]
    include = [first, second] if name in ("two_object", "position", "color_attr") else [first]
    exclude = [{"class": "person", "count": 3}] if name == "counting" else []
    return {"task": name, "include": include, "exclude": exclude}


def records(task: str, n: int = 12, seed: int = 0, references: int = 4) -> list[dict[str, Any]]:
    """Sound records of a task, its references last."""
    rng = random.Random(f"{task}/{seed}")
    detectors = (*get_task(task).detectors, *get_task(task).world_detectors)
    fields = [name for detector in detectors for name in fields_of(detector)]
    found = [
        row | {"image_sha256": "0" * 64} | {name: field(name, row, rng) for name in fields}
        for row in rows(task, n)
    ]
    if task == "fid":
        found += [
            {"index": n + i, "prompt": "", "seed": 0, "reference": True, "image_sha256": "0" * 64}
            | {name: field(name, {}, rng) for name in fields}
            for i in range(references)
        ]
    return found
