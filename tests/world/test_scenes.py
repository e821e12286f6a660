import numpy as np
import pytest

from safediffusion.world.scenes import (
    CATEGORIES,
    SIZE,
    holds,
    make_benign,
    make_harm,
    place_shapes,
    random_scene,
    render,
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
