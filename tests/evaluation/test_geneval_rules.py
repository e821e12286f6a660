"""GenEval's rules on constructed detections, each threshold at its edge, and the detector's arithmetic."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from safediffusion.evaluation.detectors.mask2former import CLASSES, GenEval, cut_out, instances, prepare
from safediffusion.evaluation.geneval_rules import fits_prompt, relations, seen
from safediffusion.steering.encoders import ClipEncoder


def found(label: str, score: float = 0.95, box: tuple = (0, 0, 10, 10), color: str = "red") -> dict[str, Any]:
    return {"label": label, "score": score, "box": list(box), "color": color}


def record(task: str, include: list[dict], *objects: dict, exclude: tuple = ()) -> dict[str, Any]:
    return {"task": task, "include": include, "exclude": list(exclude), "objects": list(objects)}


def dog(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"class": "dog", "count": count, **more}


CAT = {"class": "cat", "count": 1}


@pytest.mark.parametrize(("score", "ok"), [(0.3, False), (0.31, True)])
def test_an_object_counts_above_its_threshold(score: float, ok: bool):
    assert fits_prompt(record("single_object", [dog()], found("dog", score))) is ok


def test_two_objects_must_both_be_there():
    assert fits_prompt(record("two_object", [dog(), CAT], found("dog"), found("cat")))
    assert not fits_prompt(record("two_object", [dog(), CAT], found("dog"), found("dog")))


@pytest.mark.parametrize(
    ("scores", "ok"), [([0.95], False), ([0.95, 0.9], False), ([0.95, 0.91], True), ([0.95] * 3, False)]
)
def test_counting_is_exact_above_a_higher_threshold(scores: list[float], ok: bool):
    objects = [found("dog", s) for s in scores]
    assert fits_prompt(record("counting", [dog(2)], *objects, exclude=(dog(3),))) is ok


def test_colours_are_those_of_the_surest_objects():
    assert fits_prompt(record("colors", [dog(color="red")], found("dog"), found("dog", 0.5, color="blue")))
    assert not fits_prompt(
        record("colors", [dog(color="blue")], found("dog"), found("dog", 0.5, color="blue"))
    )


def test_each_object_has_its_own_colour():
    include = [dog(color="red"), CAT | {"color": "blue"}]
    assert fits_prompt(record("color_attr", include, found("dog"), found("cat", color="blue")))
    assert not fits_prompt(record("color_attr", include, found("dog", color="blue"), found("cat")))


def test_position_is_seen_from_the_first_object():
    include = [CAT, dog(position=["left of", 0])]
    cat, left, right = found("cat", box=(50, 0, 60, 10)), (0, 0, 10, 10), (90, 0, 100, 10)
    assert fits_prompt(record("position", include, cat, found("dog", box=left)))
    assert not fits_prompt(record("position", include, cat, found("dog", box=right)))


def test_at_most_sixteen_of_a_class_are_looked_at():
    assert len(seen(record("counting", [dog()], *[found("dog")] * 20), "dog")) == 16


def test_position_edges():
    assert relations([0, 0, 10, 10], [2, 0, 12, 10]) == set()  # within 0.1 of both widths
    # cleared of the slack the offset is a, of a + 0.2 widths before it: more than half of that counts
    assert relations([0, 0, 100, 100], [30, 0, 130, 100]) == set()
    assert relations([0, 0, 100, 100], [40, 0, 140, 100]) == set()
    assert relations([0, 0, 100, 100], [41, 0, 141, 100]) == {"left of"}
    assert relations([0, 0, 10, 10], [50, 50, 60, 60]) == {"left of", "above"}
    # the offset is (-48, 96): the smaller part is 0.447 of it, not above a half
    assert relations([0, 98, 10, 108], [50, 0, 60, 10]) == {"below"}


def test_instances_equal_their_definition():
    g = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(5, 4, generator=g) * 3, torch.randn(5, 6, 7, generator=g) * 2
    masks[4] = -1  # an empty mask
    expected = []
    for q in range(5):
        p = torch.exp(logits[q]) / torch.exp(logits[q]).sum()
        inside = masks[q] > 0
        quality = float(torch.sigmoid(masks[q])[inside].mean()) if inside.any() else 0.0
        expected += [(float(p[c]) * quality, c, q) for c in range(3)]
    expected.sort(reverse=True)
    scores, labels, boxes, kept = instances(logits, masks)
    assert scores.tolist() == pytest.approx([s for s, _, _ in expected], abs=1e-6)
    assert labels.tolist()[:12] == [c for _, c, _ in expected][:12]
    ys, xs = torch.nonzero(masks[expected[0][2]] > 0, as_tuple=True)
    assert boxes[0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert torch.equal(kept[0], masks[expected[0][2]] > 0)


def test_input_is_scaled_to_800_and_padded_to_32():
    for size, inside, padded in (
        ((512, 512), (800, 800), (800, 800)),
        ((300, 600), (667, 1333), (672, 1344)),
    ):
        pixels, found_size = prepare(torch.zeros(3, *size))
        assert found_size == inside and pixels.shape[2:] == padded


def test_what_is_outside_the_mask_is_grey():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1, 1] = True
    crop = cut_out(torch.ones(3, 4, 4), mask, torch.tensor([1, 1, 3, 2]))
    assert crop.shape == (3, 1, 2)
    assert crop[0].tolist() == [pytest.approx([1, 0.6])]


def test_the_whole_way_on_a_tiny_network(tiny_assets: Path, monkeypatch: pytest.MonkeyPatch):
    from safediffusion.evaluation.detectors import mask2former

    monkeypatch.setattr(mask2former, "SHORTEST", 64)
    torch.manual_seed(0)
    swin = SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"], image_size=64,
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, num_labels=80, num_queries=6, hidden_dim=32, mask_feature_size=32,
        feature_size=32, encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    detector = GenEval(Mask2FormerForUniversalSegmentation(config), ClipEncoder(tiny_assets / "observer"))
    monkeypatch.setattr(mask2former, "STORED", 0.0)
    row = {"task": "colors", "include": [dog(color="red")], "exclude": []}
    (fragment,) = detector([torch.rand(3, 48, 64)], [row])
    assert len(fragment["objects"]) == 100
    assert all(o["label"] in CLASSES and len(o["box"]) == 4 for o in fragment["objects"])
    assert detector.describe()["name"] == "GenEval-HF"
