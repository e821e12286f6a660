import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safediffusion.diffusion.ddim import make_schedule, noise_weight
from safediffusion.diffusion.gaussian import gaussian_kl, log_prob
from safediffusion.diffusion.load import as_diffuser
from safediffusion.training.advantages import group_advantages, weighted_advantages, zero_std_ratio
from safediffusion.training.algorithms.algorithm import optimizer_batches
from safediffusion.training.algorithms.grpo import grpo_loss, ratio_statistics, trust_region_loss
from safediffusion.training.algorithms.nft import nft_loss, old_decay, preference
from safediffusion.training.algorithms.timesteps import (
    step_weights,
    trainable_steps,
    trained_steps,
    window_eta,
)
from tests.pipelines import FAMILIES, RESOLUTION


@given(st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=8))
def test_advantages_of_a_group_sum_to_zero_and_are_finite(rewards):
    advantages = group_advantages(torch.tensor(rewards).view(2, 4), clip=100)
    assert advantages.isfinite().all()
    assert advantages.sum(1).abs().max() < 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3333333])
def test_a_group_of_equal_rewards_has_advantage_exactly_zero(value):
    rewards = torch.stack([torch.full((12,), value), torch.rand(12)])
    rewards[0, 0] += 1e-8  # rounding of a reward model
    advantages = group_advantages(rewards, clip=2.5)
    assert (advantages[0] == 0).all() and (advantages[1] != 0).any()
    assert zero_std_ratio(rewards) == 0.5


def test_advantages_are_clipped():
    rewards = torch.zeros(1, 16)
    rewards[0, 0] = 1
    assert group_advantages(rewards, clip=2.5).max() == 2.5


def test_a_common_scale_keeps_the_proportions_of_groups():
    rewards = torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.51, 0.52]])
    own, common = (group_advantages(rewards, 100, spread) for spread in ("group", "round"))
    torch.testing.assert_close(own[0], own[1], atol=0.02, rtol=0)
    torch.testing.assert_close(common[1], common[0] / 100)
    assert common.square().sum(1).mean() == pytest.approx(
        2.0, abs=0.01
    )  # deviations of 1, 2 degrees of freedom


def test_equal_rewards_have_no_advantage_on_a_common_scale_either():
    rewards = torch.tensor([[0.0, 1.0], [0.3, 0.3]])
    assert (group_advantages(rewards, 2.5, "round")[1] == 0).all()


@pytest.mark.parametrize("weight", [1.0, 0.3, 7.0])
def test_a_single_reward_is_weighed_to_exactly_its_own_advantages(weight):
    rewards = torch.randn(1, 5, 8)
    assert torch.equal(weighted_advantages(rewards, [weight], 2.5), group_advantages(rewards[0], 2.5))


def test_no_reward_drowns_another_by_its_scale():
    rewards = torch.randn(2, 5, 8)
    scaled = rewards * torch.tensor([1.0, 1000.0]).view(2, 1, 1) + 50
    ours = weighted_advantages(scaled, [1.0, 0.5], 2.5)
    torch.testing.assert_close(ours, weighted_advantages(rewards, [1.0, 0.5], 2.5), atol=2e-3, rtol=0)


def test_independent_rewards_keep_the_spread_of_one_and_weights_set_their_shares():
    torch.manual_seed(0)
    rewards = torch.randn(2, 500, 16)
    both = weighted_advantages(rewards, [2.0, 1.0], 100)
    first, second = (group_advantages(own, 100) for own in rewards)
    assert both.std().item() == pytest.approx(first.std().item(), rel=0.02)
    assert (both * first).mean() / (both * second).mean() == pytest.approx(2.0, rel=0.1)


def test_a_reward_without_preference_leaves_the_others_to_decide():
    rewards = torch.randn(2, 3, 8)
    rewards[1] = 0.7
    both = weighted_advantages(rewards, [1.0, 1.0], 2.5)
    torch.testing.assert_close(both, group_advantages(rewards[0], 2.5) / 2**0.5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.0, 1.0, True), (1.2, 1.0, False), (0.8, 1.0, True), (1.2, -1.0, True), (0.8, -1.0, False)],
)
def test_clipping_stops_only_the_updates_that_move_further_away(ratio, advantage, moves):
    log_prob = torch.tensor([math.log(ratio)], requires_grad=True)
    grpo_loss(log_prob, torch.zeros(1), torch.tensor([advantage]), 0.1).sum().backward()
    assert log_prob.grad is not None and bool(log_prob.grad != 0) == moves


def test_a_bandit_step_raises_the_better_sample():
    mean = torch.zeros(1, requires_grad=True)
    samples, advantages = torch.tensor([1.0, -1.0]), torch.tensor([1.0, -1.0])
    density = -0.5 * (samples - mean) ** 2
    grpo_loss(density, density.detach(), advantages, 0.2).mean().backward()
    assert mean.grad is not None and mean.grad < 0  # descent moves the mean up, to the better sample


def test_ratio_statistics():
    found = ratio_statistics(torch.tensor([0.0, 0.2, -0.3, 0.05]), 0.1)
    assert found["clip_fraction_low"] == found["clip_fraction_high"] == 0.25
    assert found["ratio_max_dev"] == pytest.approx(1 - math.exp(-0.3))
    assert found["approx_kl"] > 0


@pytest.mark.parametrize(
    ("r", "beta", "target"),
    [(1.0, 1.0, 1.0), (0.5, 1.0, 0.0), (0.0, 1.0, -1.0), (1.0, 0.5, 2.0), (0.75, 0.25, 2.0)],
)
def test_nft_minimum_is_the_noise_when_liked_and_its_mirror_when_disliked(r, beta, target):
    """With the old prediction at 0 and noise 1 the minimum of the contrast is (2r - 1) / beta."""
    eps, ones = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.ones(1, 1, 2, 2)
    optimizer = torch.optim.LBFGS([eps])

    def closure():
        optimizer.zero_grad()
        loss = nft_loss(eps, torch.zeros_like(ones), ones, torch.tensor([r]), torch.ones(1), beta).sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    torch.testing.assert_close(eps.detach(), torch.full_like(ones, target), atol=1e-4, rtol=0)


def test_nft_weight_preference_and_decay():
    assert noise_weight(torch.tensor([0.5, 0.999, 0.2])).tolist() == pytest.approx([1.0, 2.0, 0.5])
    assert preference(torch.tensor([-9.0, 0.0, 1.25, 9.0]), 2.5).tolist() == [0.0, 0.5, 0.75, 1.0]
    assert [old_decay(k, 0.02, 0.9) for k in (0, 10, 100)] == pytest.approx([0.0, 0.2, 0.9])


def test_window_and_subset_follow_from_seed_and_step_alone(make_pipeline):
    schedule = make_schedule(make_pipeline().scheduler, 10)
    windows = [window_eta(schedule, 1.0, 3, seed=0, step=k) for k in range(30)]
    assert windows == [window_eta(schedule, 1.0, 3, seed=0, step=k) for k in range(30)]
    assert all(sum(eta) == 3 for eta in windows) and len({tuple(eta) for eta in windows}) > 3
    starts = {eta.index(1.0) for eta in windows}
    assert {0, 7} <= starts
    subset = trained_steps(list(range(10)), 0.6, seed=0, step=4)
    assert len(subset) == 6 and subset == sorted(set(subset)) == trained_steps(list(range(10)), 0.6, 0, 4)
    assert trained_steps([2, 3], 0.1, 0, 0) in ([2], [3])


@pytest.mark.parametrize(
    ("family", "sde"), [("sd", "cps"), ("sd-v", "cps"), ("sd3", "cps"), ("sd3", "flow-grpo")]
)
def test_weighted_steps_move_their_density_alike(family, sde):
    schedule = as_diffuser(FAMILIES[family](), resolution=RESOLUTION).process.schedule(6, sde)
    weights = step_weights(schedule, 0.7)
    steps = trainable_steps(schedule, 0.7)
    pulls = []
    for i in range(len(schedule)):
        output = torch.randn(1, 4, 2, 2, requires_grad=True)
        mu, sigma = schedule.step(output, torch.randn(1, 4, 2, 2), i, 0.7)
        (slope,) = torch.autograd.grad(mu.sum(), output)
        pulls.append((weights[i] * slope.abs().mean() / sigma).item() if i in steps else 0.0)
    assert min(pulls[i] for i in steps) == pytest.approx(max(pulls), rel=1e-3)
    assert weights[steps].mean() == pytest.approx(1.0) and weights.max() > 2 * weights[steps].min()


def test_a_window_holds_no_step_without_deviation(make_pipeline):
    scheduler = make_pipeline(alpha_to_one=True).scheduler
    scheduler.register_to_config(steps_offset=0)
    schedule = make_schedule(scheduler, 5)
    assert trainable_steps(schedule, 1.0) == [0, 1, 2, 3]
    assert all(window_eta(schedule, 1.0, 2, 0, k)[4] == 0.0 for k in range(20))


@pytest.mark.parametrize("updates", [1, 2, 3, 4])
def test_every_optimizer_batch_mixes_prompts(updates):
    prompts = torch.arange(4).repeat_interleave(4)
    batches = list(optimizer_batches(16, updates))
    assert torch.cat(batches).sort().values.tolist() == list(range(16))
    assert all(len(prompts[rows].unique()) == 4 for rows in batches)


def test_trust_region_masks_by_the_sign_of_the_kl_s_growth():
    """The mask agrees with the derivative of the KL along the step that descent would take."""
    torch.manual_seed(0)
    n = 64
    old, mu, x = (torch.randn(n, 1, 2, 2) for _ in range(3))
    sigma, advantages = torch.full((n, 1, 1, 1), 0.5), torch.randn(n)
    leaf = mu.clone().requires_grad_()
    density, kl = log_prob(x, leaf, sigma), gaussian_kl(mu, old, sigma)
    outward = ((x - mu) * (mu - old)).flatten(1).sum(1)
    loss, stopped = trust_region_loss(density, density.detach(), advantages, kl, outward, 3.0)
    (-advantages * density).sum().backward()
    further = gaussian_kl(mu - 1e-3 * leaf.grad, old, sigma) > kl
    assert torch.equal(stopped, (kl > 3.0) & further)
    assert 0 < stopped.sum() < (kl > 3.0).sum() < n
    assert (loss[stopped] == 0).all() and torch.equal(loss[~stopped], -advantages[~stopped])
