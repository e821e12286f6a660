"""A share of each unsafe group sampled with activation steering: composition, learning, cost, resume."""

import pytest
import torch

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.files.json_lines import read_jsonl
from safediffusion.steering.build import build_rewards
from safediffusion.steering.reward import SteeringReward
from safediffusion.training.trainer import Trainer
from tests.training.conftest import PROMPTS
from tests.training.test_trainer import assert_same_bits, state

UNSAFE = [i for i, prompt in enumerate(PROMPTS) if prompt.label == "unsafe"]
SAMPLED_ONCE = 2 * len(UNSAFE) * 2 * 4  # both prompts of each pair, guidance, denoising steps


def passes(trainer: Trainer) -> list[dict[str, int]]:
    return [row["passes"] for row in read_jsonl(trainer.folder.metrics)]


@pytest.fixture(scope="module")
def reward() -> SteeringReward:
    found = build_rewards(load_config("world", []).reward, "cpu").parts[0].function
    assert isinstance(found, SteeringReward)
    return found


@pytest.fixture
def make(make_trainer, reward):
    def build(name="run", **changes) -> Trainer:
        sizes = {"rollout__prompts": 4, "rollout__group_size": 4, "rollout__steered": 0.5}
        return make_trainer(name, reward=reward, **sizes | {"train__algorithm": "nft"} | changes)

    return build


def test_a_share_of_unsafe_groups_is_steered_after_the_borrowing_members(make):
    trainer = make(rollout__neighbours=0.25, rollout__steered=0.5)
    trainer.groups.neighbours = lambda chosen: [[0] if i == 1 else [] for i in chosen]
    groups = trainer.groups(0)
    steered = {groups.batch.keys[row] for row in groups.batch.steered}
    assert steered == {(1, 1), (1, 2), (3, 0), (3, 1)}  # prompt 1 has a neighbour as its first member
    lent = {(1, 0)}
    own = {groups.batch.keys[row] for row in groups.unborrowed}
    assert own == set(groups.batch.keys) - steered - lent and len(groups.labels) == len(own)


def test_only_steered_rows_are_sampled_differently_and_by_strength_0_none(make):
    latents = {}
    for name, changes in {
        "none": {"rollout__steered": 0.0},
        "two": {},
        "zero": {"rollout__steering_strength": 0.0},
    }.items():
        trainer = make(name, **changes)
        trainer.learn_steering()
        batch = trainer.groups(0).batch
        latents[name] = trainer.algorithm.sample(batch)
    close = [torch.allclose(a, b, atol=1e-5) for a, b in zip(latents["none"], latents["two"], strict=True)]
    assert [row for row, same in enumerate(close) if not same] == list(batch.steered) != []
    torch.testing.assert_close(latents["none"], latents["zero"])


def test_passes_of_the_vectors_are_in_the_first_round(make):
    trainer, plain = make(), make("plain", rollout__steered=0.0)
    first, second = trainer.round()["passes"], trainer.round()["passes"]
    assert first["forward"] - second["forward"] == SAMPLED_ONCE
    assert second == plain.round()["passes"]  # a steered image costs what any other does


@pytest.mark.parametrize("rank", [0, 2])
def test_a_resumed_run_has_the_vectors_of_the_untrained_network(make, rank):
    settings = {"train__checkpoint_every": 1, "train__lora_rank": rank}
    whole = make(**settings, train__steps=3)
    whole.run()
    first = make("parts", **settings, train__steps=3)
    first.resume()
    for _ in range(2):
        first.record(first.round())
    first.save({})
    second = make("parts", **settings, train__steps=3)
    second.run()
    assert second.step == 3 and passes(second) == passes(whole)
    assert_same_bits(state(whole), state(second))
    a, b = whole.algorithm.steering, second.algorithm.steering
    assert a is not None and b is not None
    assert all(torch.equal(v, b.vectors.layers[k]) for k, v in a.vectors.layers.items())


def test_vectors_after_training_would_be_others(make):
    """So that the test above could fail."""
    trainer = make(train__lr=1e-2)
    trainer.round()
    first = trainer.algorithm.steering
    trainer.algorithm.steering = None
    trainer.learn_steering()
    again = trainer.algorithm.steering
    assert first is not None and again is not None
    assert not any(torch.equal(v, again.vectors.layers[k]) for k, v in first.vectors.layers.items())


def test_grpo_is_refused_by_name(make):
    with pytest.raises(UserError, match=r"rollout.steered is 0.5, but grpo .*train.algorithm=nft"):
        make(train__algorithm="grpo")


def test_a_reward_without_a_direction_is_refused(make_trainer):
    trainer = make_trainer(rollout__steered=0.5, train__algorithm="nft")
    with pytest.raises(UserError, match="safety direction"):
        trainer.round()


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_a_family_without_cross_attention_is_refused(make, family):
    with pytest.raises(UserError, match="has none"):
        make(family=family).round()


@pytest.mark.parametrize("family", ["sd-v", "sdxl"])
def test_families_with_cross_attention_train(make, family):
    trainer = make(family=family)
    assert trainer.round()["loss"] != 0
    assert trainer.algorithm.steering is not None
    assert trainer.algorithm.steering.vectors.concepts == ("sexual",)
