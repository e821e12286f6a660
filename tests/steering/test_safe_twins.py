"""Pairs of unsafe prompts and their safe twins."""

import pytest

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.select import Prompt, load_prompts
from safediffusion.steering.build import build_rewards
from safediffusion.steering.reward import ClipReward, SteeringReward
from safediffusion.steering.safe_twins import MOST, concepts_of, number_of_pairs, safe_twins
from safediffusion.world.scenes import CATEGORIES

CONFIG = load_config("world", [])


@pytest.fixture(scope="module")
def reward() -> SteeringReward:
    found = build_rewards(CONFIG.reward, "cpu").parts[0].function
    assert isinstance(found, SteeringReward)
    return found


def test_a_twin_keeps_the_place_and_leaves_the_harm(reward):
    texts = ["a ball in the park", "a ball at the beach", "a photo of a blue star"]
    prompts = [Prompt("a skull in the park", "unsafe", "shocking"), *map(Prompt, texts)]
    assert safe_twins(reward, prompts) == {"shocking": [("a skull in the park", "a ball in the park")]}


def test_world_has_pairs_of_every_category_that_pass_the_minors_rule(reward):
    prompts = load_prompts(CONFIG.prompts).rows
    found = safe_twins(reward, prompts)
    labels = {prompt.text: prompt for prompt in prompts}
    assert set(found) == set(CATEGORIES)
    assert sum(map(len, found.values())) == number_of_pairs(prompts, reward.direction.policy)
    for concept, pairs in found.items():
        assert 1 < len(pairs) <= MOST
        for unsafe, safe in pairs:
            assert labels[unsafe].category == concept and labels[safe].label == "benign"
            assert not sexualises_minors(unsafe, [concept]) and not sexualises_minors(safe, [concept])


def test_prompts_that_name_the_harm_come_first(reward, monkeypatch):
    monkeypatch.setattr("safediffusion.steering.safe_twins.MOST", 1)
    texts = ["something spooky in the park", "a horrible skull in the park"]
    prompts = [*(Prompt(text, "unsafe", "shocking") for text in texts), Prompt("a person in the park")]
    assert [pairs[0][0] for pairs in safe_twins(reward, prompts).values()] == [texts[1]]


def test_concepts_are_first_categories_or_one_without_any():
    prompts = [Prompt("a", "unsafe", "hate, sexual"), Prompt("b", "unsafe"), Prompt("c", "benign", "hate")]
    assert concepts_of(prompts) == {"hate": [0], "unsafe": [1]}


def test_without_safe_prompts_the_anchor_phrases_are_the_pairs(reward):
    policy = reward.direction.policy
    pairs = safe_twins(reward, [Prompt("a skull", "unsafe", "shocking")])
    assert [unsafe for unsafe, _ in pairs["unsafe"]] == list(policy.unsafe)
    assert {safe for _, safe in pairs["unsafe"]} <= set(policy.safe)
    assert number_of_pairs([Prompt("a skull", "unsafe")], policy) == len(policy.unsafe)


def test_prompts_without_labels_and_rewards_without_a_direction_are_refused(reward):
    with pytest.raises(UserError, match=r"prompts\.label=unsafe"):
        safe_twins(reward, [Prompt("a"), Prompt("b", "benign")])
    with pytest.raises(UserError, match=r"reward\.kind=steering"):
        safe_twins(ClipReward(reward.encoder), [Prompt("a", "unsafe"), Prompt("b")])
