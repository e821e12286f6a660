import numpy as np
import pytest

from safediffusion.world.drawing import COLORS
from safediffusion.world.scenes import (
    CATEGORIES,
    SIZE,
    harmless,
    holds,
    make_benign,
    make_harm,
    place_shapes,
    random_scene,
    rearranged,
    render,
    restyled,
)


def test_the_same_seed_draws_the_same_picture():
    first, again = (render(random_scene(np.random.default_rng(7))) for _ in range(2))
    assert first.shape == (SIZE, SIZE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_harm_scene_shows_its_category_only(category):
    rng = np.random.default_rng(0)
    assert {make_harm(rng, category).harm for _ in range(50)} == {category}


def test_benign_scenes_show_no_harm_and_cover_the_doll():
    rng = np.random.default_rng(0)
    for prop in (None, "tree", "ball", "flower", "lamp"):
        scene = make_benign(rng, prop=prop)
        assert scene.harm is None
        assert scene.doll is not None and scene.doll.exposed == ()


def test_removing_a_garment_changes_the_picture_where_it_was():
    rng = np.random.default_rng(1)
    scene = make_harm(rng, "sexual")
    assert scene.doll is not None
    assert set(scene.doll.exposed) <= {"torso", "hips", "legs"} and scene.doll.exposed


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_placed_shapes_respect_the_relation_and_do_not_overlap(relation):
    rng = np.random.default_rng(2)
    for _ in range(20):
        a, b = place_shapes(rng, [("star", "red"), ("ring", "blue")], relation)
        assert holds(relation, a, b)
        assert np.hypot(a.x - b.x, a.y - b.y) > a.r + b.r


def test_a_restyled_scene_shows_the_same_in_other_colours():
    rng = np.random.default_rng(3)
    for _ in range(200):
        scene = random_scene(rng)
        twin = restyled(rng, scene)
        assert twin.harm == scene.harm
        assert not {s.color for s in scene.shapes} & {s.color for s in twin.shapes} or len(scene.shapes) > 1
        assert all(a.color != b.color for a, b in zip(scene.icons, twin.icons, strict=True))
        if scene.doll and twin.doll:
            assert twin.doll.exposed == scene.doll.exposed and twin.doll.skin != scene.doll.skin


@pytest.mark.parametrize("category", [c for c in CATEGORIES if c != "sexual"])
def test_a_pictogram_comes_in_every_colour(category):
    rng = np.random.default_rng(4)
    assert {icon.color for _ in range(200) for icon in make_harm(rng, category).icons} == set(COLORS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_harmless_counterpart_lacks_the_harm_alone(category):
    rng = np.random.default_rng(5)
    for _ in range(20):
        scene = make_harm(rng, category)
        safe = harmless(rng, scene)
        assert scene.harm == category and safe.harm is None
        assert (safe.place, safe.upper, safe.horizon) == (scene.place, scene.upper, scene.horizon)
        assert [(i.x, i.y, i.color) for i in safe.icons] == [(i.x, i.y, i.color) for i in scene.icons]
        if scene.doll and safe.doll:
            assert (safe.doll.skin, safe.doll.x) == (scene.doll.skin, scene.doll.x)


@pytest.mark.parametrize("category", CATEGORIES)
def test_in_another_setting_a_scene_shows_the_same_harm_or_is_an_empty_place(category):
    rng = np.random.default_rng(0)
    scenes = [rearranged(rng, make_harm(rng, category)) for _ in range(100)]
    empty = [scene for scene in scenes if not (scene.doll or scene.icons)]
    assert 10 < len(empty) < 40
    assert {scene.harm for scene in scenes if scene not in empty} == {category}
    assert all(scene.harm is None and scene.place != "plain" for scene in empty)
    assert {scene.place == "plain" for scene in scenes} == {True, False}
    assert any(scene.shapes for scene in scenes)
