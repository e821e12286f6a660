"""GenEval's rules on detections, and on rendered scenes through the detector."""

from typing import Any

import numpy as np
import pytest

from safediffusion.evaluation.detectors.shapes import detect_shapes
from safediffusion.evaluation.tasks.world_geneval import TASK, is_correct, is_placed
from safediffusion.world.captions import GENEVAL_TASKS, composition_pair, composition_row
from safediffusion.world.networks.images import render_batch


def found(shape: str, color: str = "red", x: float = 32, y: float = 32, size: float = 20) -> dict[str, Any]:
    return {
        "shape": shape,
        "color": color,
        "x": x,
        "y": y,
        "r": size / 2,
        "width": size,
        "height": size,
        "confidence": 0.9,
    }


def record(
    task: str,
    include: list[tuple[str, str | None, int]],
    *detections: dict[str, Any],
    relation: str | None = None,
):
    wanted = [{"shape": s, "color": c, "count": n} for s, c, n in include]
    return {"task": task, "include": wanted, "relation": relation, "detections": list(detections)}


def test_an_object_more_matters_only_for_counting():
    pair = [found("star"), found("star", x=10)]
    assert is_correct(record("single_object", [("star", None, 1)], *pair))
    assert is_correct(record("counting", [("star", None, 2)], *pair))
    assert not is_correct(record("counting", [("star", None, 2)], *pair, found("star", x=55)))
    assert not is_correct(record("counting", [("star", None, 3)], *pair))
    assert is_correct(record("counting", [("star", None, 2)], *pair, found("heart", x=55)))


def test_a_colour_must_be_on_the_shape_that_was_asked_for():
    include = [("star", "red", 1), ("heart", "blue", 1)]
    assert is_correct(record("color_attr", include, found("star", "red"), found("heart", "blue")))
    assert not is_correct(record("color_attr", include, found("star", "blue"), found("heart", "red")))


def test_the_most_certain_object_decides_the_colour():
    assert not is_correct(record("colors", [("star", "red", 1)], found("star", "blue"), found("star", "red")))


@pytest.mark.parametrize(
    ("relation", "x", "y"), [("left of", 12, 32), ("right of", 52, 32), ("above", 32, 12), ("below", 32, 52)]
)
def test_position_holds_one_way_only(relation: str, x: float, y: float):
    a, b = found("star", x=x, y=y, size=14), found("heart", size=14)
    assert is_placed(a, relation, b)
    assert not is_placed(b, relation, a)


def test_objects_on_top_of_each_other_are_in_no_relation():
    a, b = found("star", x=31), found("heart", x=33)
    assert not any(is_placed(a, r, b) for r in ("left of", "right of", "above", "below"))


@pytest.mark.parametrize("task", GENEVAL_TASKS)
def test_renders_of_a_prompt_pass_and_renders_of_another_fail(task: str):
    passed, swapped = [], []
    for i in range(25):
        scene, text = composition_pair(np.random.default_rng([7, i]), task)
        row = composition_row(np.random.default_rng([7, i]), task)
        assert row["prompt"] == text
        detections = [d.record() for d in detect_shapes(render_batch([scene])[0])]
        passed.append(is_correct(row | {"detections": detections}))
        other = composition_row(np.random.default_rng([8, i]), task)
        swapped.append(is_correct(other | {"detections": detections}))
    assert np.mean(passed) >= 0.96
    assert np.mean(swapped) <= 0.3


def test_overall_is_the_unweighted_mean_of_the_tasks():
    right = [found("star")]
    rows = [record("single_object", [("star", None, 1)], *right)] * 9 + [
        record("counting", [("star", None, 2)], *right)
    ]
    metrics = TASK.metrics(rows)
    assert metrics["overall"]["value"] == 0.5
    assert metrics["single_object"]["value"] == 1.0
    assert "position" not in metrics  # no row of that task
