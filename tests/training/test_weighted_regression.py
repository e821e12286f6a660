"""SFT and RWR: the denoising loss with weights that follow from a group's rewards."""

import math

import pytest
import torch

from safediffusion.training.algorithms.regression import best_weights, effective_share, softmax_weights
from tests.training.learning import gradient, likelihoods


def test_the_best_of_a_group_is_learned_alone_and_ties_share():
    advantages = torch.tensor([[-1.0, 2.0, -1.0, 0.0], [1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    assert best_weights(advantages).tolist() == [[0, 4, 0, 0], [2, 0, 2, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_rwr_weights_are_those_of_the_exponentials(temperature):
    advantages = torch.tensor([[-1.0, 0.5, 2.0], [0.0, 0.0, 0.0]])
    powers = [math.exp(a / temperature) for a in (-1.0, 0.5, 2.0)]
    expected = [[3 * p / sum(powers) for p in powers], [1.0, 1.0, 1.0]]
    torch.testing.assert_close(softmax_weights(advantages, temperature), torch.tensor(expected))


def test_effective_share_is_one_over_the_members_for_the_best_and_one_for_all():
    assert effective_share(torch.tensor([0.0, 4.0, 0.0, 0.0])) == 0.25
    assert effective_share(torch.ones(5)) == 1.0
    assert effective_share(torch.zeros(5)) == 0.0
    assert effective_share(torch.tensor([3.0, 1.0])) == pytest.approx(16 / 20)


@pytest.mark.parametrize("family", ["sd", "sd-v", "sd3"])
@pytest.mark.parametrize("name", ["sft", "rwr"])
def test_gradient_is_that_of_the_weighted_denoising_loss(make_trainer, name, family):
    advantages = torch.tensor([1.5, -0.5, -0.5, -0.5, 0.0, 0.0, 0.0, 0.0])
    trainer = make_trainer(family=family, train__algorithm=name, train__rwr_temperature=0.7)
    weights = {
        "sft": torch.tensor([4.0, 0, 0, 0, 0, 0, 0, 0]),
        "rwr": torch.cat(
            [4 * (advantages[:4] / 0.7).exp() / (advantages[:4] / 0.7).exp().sum(), torch.ones(4)]
        ),
    }[name]
    found, noised = gradient(trainer, advantages)
    predicted = trainer.algorithm.predict(noised)
    error = (predicted - noised.target).square().flatten(1).mean(1)
    (weights * noised.weight * error).mean().backward()
    for p, g in zip(trainer.learner.parameters, found, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-7)


def test_the_log_says_how_many_images_count(make_trainer):
    assert make_trainer("best", train__algorithm="sft").round()["effective_share"] == 0.25
    cold, hot = (
        make_trainer(f"{t}", train__algorithm="rwr", train__rwr_temperature=t).round()["effective_share"]
        for t in (0.1, 100.0)
    )
    assert 0.25 <= cold < 0.5 and hot == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("family", "guidance", "told"), [("sd", 3, 1), ("sd", 1, 0), ("flux", 3, 0)])
def test_guided_images_learned_as_they_are_are_told_of(make_trainer, family, guidance, told):
    trainer = make_trainer(family=family, train__algorithm="rwr", rollout__guidance=guidance)
    lines = trainer.algorithm.describe()
    # flux reads its guidance, so it learns with the one that it sampled with
    assert sum("rollout.guidance=1" in line for line in lines) == told


def test_a_round_of_equal_rewards_leaves_sft_as_it_was(make_trainer):
    trainer = make_trainer(train__algorithm="sft", train__weight_decay=0.0)
    before = likelihoods(trainer)
    row = trainer.algorithm.update(trainer.groups(0).batch, torch.zeros(8))
    assert row["grad_norm"] == row["effective_share"] == 0
    assert torch.equal(likelihoods(trainer), before)
