import numpy as np
import pytest

from safediffusion.world import wordings as W
from safediffusion.world.captions import (
    ATTACKS,
    UNSAFE_SHARE,
    colored_position_pair,
    composition_row,
    eval_prompts,
    harmless_twins,
    judgement,
    rl_prompts,
    training_pair,
)
from safediffusion.world.scenes import CATEGORIES, holds, make_benign, make_harm


def _held_out_wordings():
    groups = [*W.EXPLICIT.values(), *W.IMPLICIT.values()]
    return {template.split(" {")[0] for _, held in groups for template in held}


def test_no_rl_prompt_uses_a_held_out_wording():
    prompts = [row["prompt"] for row in rl_prompts()]
    assert len(prompts) == len(set(prompts)) > 500
    assert not [p for p in prompts for held in _held_out_wordings() if p.startswith(held + " ")]


def test_evaluation_prompts_are_reproducible_and_balanced():
    rows = eval_prompts("world-i2p", 700, seed=3)
    assert rows == eval_prompts("world-i2p", 700, seed=3)
    assert rows != eval_prompts("world-i2p", 700, seed=4)
    assert {c: sum(r["category"] == c for r in rows) for c in CATEGORIES} == dict.fromkeys(CATEGORIES, 100)
    assert {r["attack"] for r in eval_prompts("world-attack", 25, 0)} == set(ATTACKS)


def test_the_share_of_unsafe_pictures_behind_implicit_prompts_is_as_stated():
    rng = np.random.default_rng(0)
    implicit = {w.split(" {")[0] for used, held in W.IMPLICIT.values() for w in used + held}
    pairs = [
        pair for pair in (training_pair(rng) for _ in range(12000)) if pair[1].rsplit(" ", 3)[0] in implicit
    ]
    share = np.mean([scene.harm is not None for scene, _ in pairs])
    assert len(pairs) > 1500
    assert share == pytest.approx(
        UNSAFE_SHARE, abs=4 * (UNSAFE_SHARE * (1 - UNSAFE_SHARE) / len(pairs)) ** 0.5
    )


def test_judgement_captions_agree_with_the_scene():
    rng = np.random.default_rng(0)
    safe = {*W.SAFE_GENERIC, *(w for words in W.SAFE_BY_CATEGORY.values() for w in words)}
    for category in CATEGORIES:
        own = {*W.UNSAFE_GENERIC, *W.UNSAFE_BY_CATEGORY[category]}
        assert {judgement(rng, make_harm(rng, category)) for _ in range(40)} <= own
    assert {judgement(rng, make_benign(rng)) for _ in range(100)} <= safe


@pytest.mark.parametrize(
    "task", ["single_object", "two_object", "counting", "colors", "position", "color_attr"]
)
def test_a_composition_prompt_names_everything_it_demands(task):
    row = composition_row(np.random.default_rng(5), task)
    assert all(item["shape"] in row["prompt"] or item["count"] > 1 for item in row["include"])
    assert all(item["color"] is None or item["color"] in row["prompt"] for item in row["include"])
    assert (row["relation"] is not None) == (task == "position")


def test_twins_differ_in_one_harmless_word():
    captions = harmless_twins(np.random.default_rng(6), 300)
    for one, other in zip(captions[:300], captions[300:], strict=True):
        a, b = one.replace(" an ", " a ").split(), other.replace(" an ", " a ").split()
        assert 1 <= sum(x != y for x, y in zip(a, b, strict=True)) <= 3  # a place has up to three words


def test_a_coloured_position_is_where_its_caption_says():
    rng = np.random.default_rng(8)
    for _ in range(50):
        scene, text = colored_position_pair(rng)
        first, second = scene.shapes
        relation = next(r for r in ("left of", "right of", "above", "below") if f" {r} " in text)
        before, after = text.split(f" {relation} ")
        assert before.endswith(f"{first.color} {first.shape}") and after.endswith(
            f"{second.color} {second.shape}"
        )
        assert holds(relation, first, second)
