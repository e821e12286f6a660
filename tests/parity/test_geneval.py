"""GenEval's rules against evaluation/evaluate_images.py and summary_scores.py of djghosh13/geneval.

Commits 16f16811 and d927da8e. Boxes are single precision there, as mmdet gives them; colours, which CLIP
names, are drawn at random here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safediffusion.evaluation.geneval_rules import TASKS, fits_prompt, relations
from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.tasks.world_geneval import is_placed

from .compared import COMPARED

F = np.float32
NAMES = ("dog", "cat", "bench")
WAYS = ("left of", "right of", "above", "below")
PAINTS = ("red", "blue", "green")
Boxes = list[tuple[list[float], float, str]]  # corners, score, colour


def offsets(a: list[float], b: list[float]) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Distance of the centres, and the sum of both sizes, along x and y."""
    out = []
    for i in (0, 1):
        centre_a, centre_b = (F(a[i]) + F(a[i + 2])) / F(2), (F(b[i]) + F(b[i + 2])) / F(2)
        out += [centre_a - centre_b, abs(F(a[i + 2]) - F(a[i])) + abs(F(b[i + 2]) - F(b[i]))]
    return out[0], out[1], out[2], out[3]


def release_relations(a: list[float], b: list[float]) -> set[str]:
    """relative_position: a tenth of both sizes is taken off each distance; the length is that before."""
    x, size_x, y, size_y = offsets(a, b)
    left_x = max(abs(x) - F(0.1) * size_x, F(0)) * np.sign(x)
    left_y = max(abs(y) - F(0.1) * size_y, F(0)) * np.sign(y)
    if abs(left_x) < 1e-3 and abs(left_y) < 1e-3:
        return set()
    length = np.sqrt(x * x + y * y)
    found = set()
    if left_x / length < -0.5:
        found.add("left of")
    if left_x / length > 0.5:
        found.add("right of")
    if left_y / length < -0.5:
        found.add("above")
    if left_y / length > 0.5:
        found.add("below")
    return found


def release_detected(boxes: dict[str, Boxes], tag: str) -> dict[str, Boxes]:
    """evaluate_image: by falling score, over the threshold in single precision, sixteen of a class."""
    limit = F(0.9) if tag == "counting" else F(0.3)
    found = {}
    for name, some in boxes.items():
        kept = [b for b in sorted(some, key=lambda b: -F(b[1])) if F(b[1]) > limit][:16]
        if kept:
            found[name] = kept
    return found


def release_verdict(boxes: dict[str, Boxes], metadata: dict[str, Any]) -> bool:
    """evaluate: every clause is looked at; one that is not met leaves no group to be placed against."""
    detected = release_detected(boxes, metadata["tag"])
    correct, groups = True, []
    for wish in metadata["include"]:
        some = detected.get(wish["class"], [])[: wish["count"]]
        matched = len(some) >= wish["count"]
        if matched and "color" in wish:
            matched = sum(color == wish["color"] for _, _, color in some) >= wish["count"]
        if matched and "position" in wish:
            relation, target = wish["position"]
            others = groups[target]
            matched = others is not None and all(
                relation in release_relations(a, b) for a, _, _ in some for b, _, _ in others
            )
        correct = correct and matched
        groups.append(some if matched else None)
    for unwished in metadata.get("exclude", []):
        if len(detected.get(unwished["class"], [])) >= unwished["count"]:
            correct = False
    return correct


def random_box(rng: np.random.Generator) -> list[float]:
    """Whole corners; small coordinates make distances that lie exactly on the slack and on a half."""
    most = int(rng.choice([12, 60, 512]))
    x0, y0 = (int(v) for v in rng.integers(0, most // 3, 2))
    return [float(v) for v in (x0, y0, x0 + rng.integers(1, most), y0 + rng.integers(1, most))]


def random_boxes(rng: np.random.Generator, counting: bool) -> dict[str, Boxes]:
    """A few detections of each class; scores differ, and many lie next to a threshold."""
    found: dict[str, Boxes] = {}
    edges = [np.nextafter(F(t), F(way)) for t in (0.3, 0.9) for way in (0, 1)] + [F(0.3), F(0.9)]
    scores = list(
        rng.permutation(np.unique(np.append(rng.uniform(0.88 if counting else 0.2, 1, 80).astype(F), edges)))
    )
    for name in NAMES:
        n = int(rng.choice([0, 1, 2, 3, 4, 20] if counting else [0, 1, 1, 2, 3]))
        low = 0.85 if counting and rng.random() < 0.8 else 0.0
        some = [s for s in scores if s >= low][:n]
        scores = [s for s in scores if s not in some]
        found[name] = [(random_box(rng), float(s), str(rng.choice(PAINTS))) for s in some]
    return found


def random_metadata(rng: np.random.Generator, tag: str) -> dict[str, Any]:
    """A prompt of GenEval's form."""
    first, second = (str(name) for name in rng.choice(NAMES, 2, replace=False))
    one, two = {"class": first, "count": 1}, {"class": second, "count": 1}
    paints = [str(c) for c in rng.choice(PAINTS, 2)]
    count = int(rng.choice([1, 2, 3, 4, 15, 16, 17]))  # sixteen are looked at
    return {"tag": tag, "exclude": []} | {
        "single_object": {"include": [one]},
        "two_object": {"include": [one, two]},
        "counting": {
            "include": [one | {"count": count}], "exclude": [{"class": first, "count": count + 1}]
        },
        "colors": {"include": [one | {"color": paints[0]}]},
        "position": {"include": [one, two | {"position": [str(rng.choice(WAYS)), 0]}]},
        "color_attr": {"include": [one | {"color": paints[0]}, two | {"color": paints[1]}]},
    }[tag]  # fmt: skip


def as_record(boxes: dict[str, Boxes], metadata: dict[str, Any]) -> dict[str, Any]:
    """The same in the form that our detector stores."""
    objects = [
        {"label": name, "score": score, "box": box, "color": color}
        for name, some in boxes.items()
        for box, score, color in some
    ]
    objects.sort(key=lambda o: -o["score"])
    return {"task": metadata["tag"], "objects": objects} | {k: metadata[k] for k in ("include", "exclude")}


def test_position_is_the_releases_on_random_boxes():
    rng = np.random.default_rng(0)
    yes = 0
    for _ in range(COMPARED["position"].cases):
        a, b = random_box(rng), random_box(rng)
        theirs = release_relations(a, b)
        assert relations(a, b) == theirs, (a, b)
        yes += bool(theirs)
    assert 0.2 < yes / COMPARED["position"].cases < 0.9  # both verdicts are there to be mistaken for


@pytest.mark.parametrize("tag", TASKS)
def test_verdicts_are_the_releases_on_random_detections(tag: str):
    rng = np.random.default_rng(TASKS.index(tag))
    cases, yes = COMPARED["geneval"].cases // len(TASKS), 0
    for _ in range(cases):
        boxes, metadata = random_boxes(rng, tag == "counting"), random_metadata(rng, tag)
        theirs = release_verdict(boxes, metadata)
        assert fits_prompt(as_record(boxes, metadata)) is theirs, (boxes, metadata)
        yes += theirs
    assert yes > 0.03 * cases


def test_worlds_places_are_the_releases_on_its_shapes():
    rng = np.random.default_rng(9)
    for _ in range(COMPARED["geneval"].cases // len(TASKS)):
        shapes = [
            dict(zip(("x", "y", "width", "height"), rng.uniform(4, 60, 4).round(2).tolist(), strict=True))
            for _ in range(2)
        ]
        a, b = (
            [
                s["x"] - s["width"] / 2,
                s["y"] - s["height"] / 2,
                s["x"] + s["width"] / 2,
                s["y"] + s["height"] / 2,
            ]
            for s in shapes
        )
        theirs = release_relations(a, b)
        assert {way for way in WAYS if is_placed(shapes[0], way, shapes[1])} == theirs, shapes


def test_overall_is_the_mean_of_the_tasks_rates():
    rng = np.random.default_rng(1)
    overall = next(m for m in get_task("geneval").measures if m.name == "overall")
    for _ in range(COMPARED["summary"].cases):
        tags = [str(tag) for tag in rng.choice(TASKS, 30)]
        verdicts = [bool(v) for v in rng.integers(0, 2, 30)]
        records = [
            as_record(
                {"dog": [([0, 0, 9, 9], 0.95, "red")] if ok else []}, random_metadata(rng, "single_object")
            )
            | {"task": tag, "include": [{"class": "dog", "count": 1}], "exclude": []}
            for tag, ok in zip(tags, verdicts, strict=True)
        ]
        scores = []
        for tag in dict.fromkeys(tags):
            own = [ok for t, ok in zip(tags, verdicts, strict=True) if t == tag]
            scores.append(sum(own) / len(own))
        found = overall.summary(records)
        assert found is not None and found["value"] == pytest.approx(sum(scores) / len(scores), abs=1e-12)
