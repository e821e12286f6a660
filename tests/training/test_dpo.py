"""DPO on the best and the worst image of a group."""

import math

import pytest
import torch

from safediffusion.errors import UserError
from safediffusion.training.algorithms.dpo import best_and_worst, dpo_loss
from tests.training.learning import gradient


def test_the_loss_is_the_logistic_loss_of_the_implicit_rewards():
    won, lost, beta = torch.tensor([0.2, -0.1, 0.0]), torch.tensor([0.1, 0.3, 0.0]), 20.0
    found = dpo_loss(won, lost, beta)
    by_hand = [-math.log(1 / (1 + math.exp(beta / 2 * (w - v)))) for w, v in zip(won, lost, strict=True)]
    torch.testing.assert_close(found, torch.tensor(by_hand))
    assert dpo_loss(torch.tensor([1e3]), torch.tensor([0.0]), 5000.0).isfinite()


def test_the_pair_of_a_group_is_its_best_and_its_worst_image():
    advantages = torch.tensor([0.1, -2.0, 1.0, 0.9, 3.0, 2.0, -5.0, 0.0])
    assert best_and_worst(advantages, 4).tolist() == [2, 1, 4, 6]


@pytest.mark.parametrize("family", ["sd", "sd-v", "sd3"])
@pytest.mark.parametrize("rank", [0, 4])
def test_loss_at_the_reference_model_is_log_two(make_trainer, family, rank):
    trainer = make_trainer(
        family=family,
        train__algorithm="dpo",
        train__lora_rank=rank,
        train__micro_batch=2,
        train__dpo_beta=50.0,
    )
    assert trainer.round()["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert trainer.round()["loss"] != pytest.approx(math.log(2), abs=1e-6)


def test_gradient_at_the_reference_model_is_a_quarter_of_beta_times_the_difference_of_errors(make_trainer):
    beta = 40.0
    trainer = make_trainer(train__algorithm="dpo", train__dpo_beta=beta)
    advantages = torch.tensor([-1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found, noised = gradient(trainer, advantages)
    rows = torch.tensor([2, 0])
    assert torch.equal(noised.t[0], noised.t[1])
    e = noised.target  # of a noise network
    assert torch.equal(e[0], e[1])
    clean = trainer.algorithm.clean[rows]
    torch.testing.assert_close(noised.x[:2], trainer.algorithm.process.add_noise(clean, e[:2], noised.t[:2]))
    error = (trainer.algorithm.predict(noised) - noised.target).square().flatten(1).mean(1)
    # the second group has equal rewards: no pair, though it counts in the mean over two
    (beta / 4 * (error[0] - error[1]) / 2).backward()
    for p, g in zip(trainer.learner.parameters, found, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-3, atol=1e-7)


def test_the_old_copy_stays_the_reference_model(make_trainer):
    trainer = make_trainer(train__algorithm="dpo", train__updates=2)
    before = [p.detach().clone() for p in trainer.learner.parameters]
    for _ in range(2):
        trainer.round()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.learner.old, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, trainer.learner.parameters, strict=True))


def test_two_images_of_a_group_pass_through_the_network(make_trainer):
    passes = make_trainer(train__algorithm="dpo", train__updates=3).round()["passes"]
    assert passes["backward"] == 3 * 2 * 2
    assert passes["forward"] == 8 * 4 * 2 + 2 * 3 * 2 * 2  # sampling, then reference and policy


def test_a_micro_batch_that_splits_a_pair_is_refused(make_trainer):
    with pytest.raises(UserError, match=r"micro_batch is 5.*set train\.micro_batch=6"):
        make_trainer(train__algorithm="dpo", train__micro_batch=5)
