"""PEPG: the policy gradient of the advantage, less the KL to the policy that samples."""

import math

import pytest
import torch

from safediffusion.errors import UserError
from safediffusion.training.algorithms.pepg import pepg_loss


def test_gradient_is_that_of_the_expected_advantage_less_the_kl():
    """Over all outcomes of a small policy the surrogate's mean has the exact gradient."""
    torch.manual_seed(0)
    old, advantages, proximal = torch.randn(5).log_softmax(0), torch.randn(5), 0.7
    logits = torch.randn(5, requires_grad=True)
    policy = logits.log_softmax(0)
    objective = (policy.exp() * (advantages - proximal * (policy - old))).sum()
    (wanted,) = torch.autograd.grad(objective, logits)
    surrogate = (old.exp() * pepg_loss(logits.log_softmax(0), old, advantages, proximal)).sum()
    (found,) = torch.autograd.grad(surrogate, logits)
    torch.testing.assert_close(found, -wanted)


def test_at_the_sampling_policy_it_is_the_plain_policy_gradient_and_beyond_it_pulls_back():
    density, advantages = torch.zeros(3, requires_grad=True), torch.tensor([1.0, -2.0, 1.0])
    pepg_loss(density, torch.tensor([0.0, 0.0, -0.2]), advantages, 10.0).sum().backward()
    assert density.grad is not None
    assert density.grad[:2].tolist() == [-1.0, 2.0]
    assert density.grad[2] == pytest.approx(math.exp(0.2) * (10 * 0.2 - 1))


def test_images_are_sampled_from_the_old_copy(make_trainer):
    trainer = make_trainer(train__algorithm="pepg", train__lr=1e-2, train__old_decay_step=0.5)
    for _ in range(2):
        trainer.round()
    batch = trainer.groups(2).batch
    found = trainer.algorithm.sample(batch)
    nft = make_trainer("nft", train__algorithm="nft")
    for trained, values in ((False, trainer.learner.old), (True, trainer.learner.parameters)):
        with torch.no_grad():
            for p, value in zip(nft.learner.parameters, values, strict=True):
                p.copy_(value)
        assert torch.equal(nft.algorithm.sample(batch), found) is not trained


def test_ratio_is_one_at_first_and_is_logged(make_trainer):
    trainer = make_trainer(train__algorithm="pepg", train__lr=1e-2, train__old_decay_step=0.5)
    assert trainer.round()["ratio_max_dev"] == 0.0
    trainer.round()
    assert trainer.round()["ratio_max_dev"] > 0.0


def test_a_sharded_network_is_refused(make_trainer):
    with pytest.raises(UserError, match=r"set train\.shard=false or train\.algorithm=nft"):
        make_trainer(train__algorithm="pepg", train__shard=True)
