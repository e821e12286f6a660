"""Advantage weighted matching: the evidence bound's policy gradient, one draw of noise for both sides."""

import pytest
import torch

from safediffusion.diffusion.load import as_diffuser
from safediffusion.training.algorithms.awm import matching_log_prob
from safediffusion.training.algorithms.grpo import grpo_loss
from tests.pipelines import FAMILIES, RESOLUTION


def weights(trainer):
    return [p.detach().clone() for p in trainer.learner.parameters]


def test_gradient_at_the_sampling_policy_is_the_advantage_times_the_denoising_loss():
    torch.manual_seed(0)
    predicted, target = torch.randn(3, 4, 2, 2, requires_grad=True), torch.randn(3, 4, 2, 2)
    weight, advantages = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, -2.0, 0.0])
    density = matching_log_prob(predicted, target, weight)
    (found,) = torch.autograd.grad(
        grpo_loss(density, density.detach(), advantages, 1e-4).sum(), predicted, retain_graph=True
    )
    by_hand = (advantages * weight).view(3, 1, 1, 1) * 2 * (predicted - target) / 16
    torch.testing.assert_close(found, by_hand)


@pytest.mark.parametrize("family", ["sd", "sd-v"])
def test_the_estimate_is_of_what_the_network_predicts(family):
    """Of a noise network the weighted error of its noise; of a v network the plain error of its v."""
    process = as_diffuser(FAMILIES[family](), resolution=RESOLUTION).process
    torch.manual_seed(0)
    clean, e, output = torch.randn(3, 6, 4, 2, 2)
    t = torch.tensor([5, 100, 300, 600, 900, 990])
    x, alpha = process.add_noise(clean, e, t), process.alphas[t].view(-1, 1, 1, 1)
    target = process.target(clean, e, t)
    found = matching_log_prob(process.predicted(output, x, t), target, process.weight(t))
    v = alpha.sqrt() * e - (1 - alpha).sqrt() * clean
    error = {"sd": output - e, "sd-v": output - v}[family].square().flatten(1).mean(1)
    weight = {"sd": (alpha / (1 - alpha)).sqrt().clamp(max=2).flatten(), "sd-v": 1.0}[family]
    torch.testing.assert_close(found, -weight * error)


def test_ratio_starts_at_one_with_an_old_copy_of_its_own_pass(make_trainer):
    trainer = make_trainer(train__algorithm="awm", train__updates=2, train__lr=1e-6, train__micro_batch=3)
    row = trainer.round()
    assert row["ratio_max_dev"] < 1e-4 and row["passes"]["backward"] == 16
    assert row["passes"]["forward"] == 8 * 4 * 2 + 2 * 16
    assert all(torch.equal(a, b) for a, b in zip(trainer.learner.old, weights(trainer), strict=True))
    moved = make_trainer("moved", train__algorithm="awm", train__updates=2, train__lr=1e-2)
    assert moved.round()["ratio_max_dev"] > 1e-4, "the check above could not fail"


def test_one_update_needs_no_second_pass_and_is_the_same_update(make_trainer):
    quick, slow = (make_trainer(name, train__algorithm="awm") for name in ("quick", "slow"))
    slow.algorithm.on_policy = False
    slow.learner.old = weights(slow)
    rows = quick.round(), slow.round()
    assert quick.learner.old == [] and rows[0]["ratio_max_dev"] == 0.0
    assert rows[0]["passes"]["forward"] == rows[1]["passes"]["forward"] - 8
    assert all(torch.equal(a, b) for a, b in zip(weights(quick), weights(slow), strict=True))


@pytest.mark.parametrize("family", ["sd", "sd-v", "sd3"])
def test_reward_rises_on_a_two_mode_toy(make_trainer, two_modes, family):
    trainer = make_trainer(
        family=family, network=two_modes(family), train__algorithm="awm",
        train__lr={"sd": 4e-4, "sd-v": 8e-4, "sd3": 4e-4}[family],
        train__micro_batch=32, rollout__group_size=16, rollout__guidance=1.0, rollout__batch_size=32,
    )  # fmt: skip
    rows = [trainer.round() for _ in range(12)]
    rewards = [row["reward_mean"] for row in rows]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + rows[0]["reward_std"]
