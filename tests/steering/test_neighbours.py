"""Neighbours: prompts nearer to a prompt's steered embedding than it is itself."""

import pytest
import torch

from safediffusion.config import load_config
from safediffusion.steering.build import build_rewards
from safediffusion.steering.neighbours import SafeNeighbours, nearer
from safediffusion.steering.reward import ClipReward, SteeringReward

PROMPTS = [
    "a skull in the park",
    "a ball in the park",
    "arrows pointing at a person at the beach",
    "a person with a lamp at the beach",
    "a photo of a blue star",
]


@pytest.fixture(scope="module")
def steering() -> SteeringReward:
    reward = build_rewards(load_config("world", ["reward.alpha=1.0"]).reward, "cpu").parts[0].function
    assert isinstance(reward, SteeringReward)
    return reward


def test_nearer_ones_are_those_above_the_own_value_in_order():
    similarity = torch.tensor([0.1, 0.9, 0.5, 0.7])
    assert nearer(similarity, own=2, most=5) == [1, 3]
    assert nearer(similarity, own=2, most=1) == [1]
    assert nearer(similarity, own=1, most=5) == []


def test_plain_alignment_has_none(steering):
    neighbours = SafeNeighbours(ClipReward(steering.encoder), PROMPTS, 3)
    assert neighbours(range(len(PROMPTS))) == [[]] * len(PROMPTS)


def test_a_prompt_that_names_a_harm_is_lent_the_safe_one_of_its_place(steering):
    neighbours = SafeNeighbours(steering, PROMPTS, 1)
    assert neighbours([0, 2, 0]) == [[1], [3], [1]]


def test_an_encoder_is_not_fetched_again_for_prompts_that_are_known(steering, monkeypatch):
    fetched = []
    awake = steering.encoder.awake
    monkeypatch.setattr(steering.encoder, "awake", lambda: fetched.append(1) or awake(), raising=False)
    neighbours = SafeNeighbours(steering, PROMPTS, 1)
    found = neighbours([0, 2])
    assert fetched
    fetched.clear()
    assert neighbours([2, 0]) == found[::-1] and not fetched


def test_every_neighbour_is_on_the_safer_side(steering):
    neighbours = SafeNeighbours(steering, PROMPTS, 4)
    safety = steering.encoder.text(PROMPTS) @ steering.direction.vector
    lent = [(i, j) for i in range(len(PROMPTS)) for j in neighbours([i])[0]]
    assert lent and all(safety[j] > safety[i] for i, j in lent)


def test_a_reward_without_texts_has_none():
    assert SafeNeighbours(lambda images, prompts: images.mean((1, 2, 3)), PROMPTS, 3)([0]) == [[]]
