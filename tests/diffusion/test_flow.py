import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch.distributions import Normal

from safediffusion.diffusion.flow import Flow, cps_step, even_steps, flow_grpo_step, shift_by_length
from safediffusion.diffusion.gaussian import log_prob

SDES = ("cps", "flow-grpo")
STEPS = {"cps": cps_step, "flow-grpo": flow_grpo_step}
SHIFTS = {
    "fixed": (FlowMatchEulerDiscreteScheduler(shift=3.0), False),
    "dynamic": (FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), True),
}


def flow(kind: str = "fixed") -> Flow:
    scheduler, linear = SHIFTS[kind]
    mu = shift_by_length(scheduler, 64)
    return Flow(
        scheduler, "cpu", lambda steps: {"mu": mu} | ({"sigmas": even_steps(steps)} if linear else {})
    )


def gaussian_velocity(x, t):
    """The exact velocity of data ~ N(0, 1): E[noise - x0 | x_t]."""
    return x * (2 * t - 1) / ((1 - t) ** 2 + t**2)


def variance(t):
    return (1 - t) ** 2 + t**2


@pytest.mark.parametrize("sde", SDES)
@pytest.mark.parametrize("kind", SHIFTS)
def test_without_noise_a_step_is_the_schedulers_own(kind, sde):
    schedule = flow(kind).schedule(8, sde)
    theirs = SHIFTS[kind][0]
    torch.manual_seed(0)
    x, velocity = torch.randn(2, 2, 4, 8, 8).unbind(0)
    theirs.set_begin_index(0)
    assert torch.equal(schedule.timesteps, theirs.timesteps)
    for i, t in enumerate(theirs.timesteps):
        mu, sigma = schedule.step(velocity, x, i, 0.0)
        torch.testing.assert_close(mu, theirs.step(velocity, t, x).prev_sample, atol=2e-6, rtol=1e-6)
        assert sigma == schedule.sigma(0.0)[i] == 0


@pytest.mark.parametrize("sde", SDES)
def test_rows_may_stand_at_different_steps(sde):
    schedule = flow("dynamic").schedule(6, sde)
    x, velocity = torch.randn(2, 3, 4, 2, 2).unbind(0)
    mu, sigma = schedule.step(velocity, x, torch.tensor([0, 2, 4]), 0.7)
    for row, i in enumerate((0, 2, 4)):
        alone, deviation = schedule.step(velocity[row : row + 1], x[row : row + 1], i, 0.7)
        torch.testing.assert_close(mu[row : row + 1], alone)
        torch.testing.assert_close(sigma[row].squeeze(), deviation)
        torch.testing.assert_close(deviation, schedule.sigma(0.7)[i])


@pytest.mark.parametrize("eta", [0.3, 0.7, 1.0])
def test_cps_keeps_both_coefficients(eta):
    """From x_t = (1 - t) x0 + t e and the true velocity e - x0: weight 1 - s on x0, and s on all noise."""
    schedule = flow().schedule(7)
    x0, noise = torch.randn(2, 2, 4, 4, 4, dtype=torch.float64).unbind(0)
    for t, s in zip(schedule.t.double(), schedule.s.double(), strict=True):
        x = (1 - t) * x0 + t * noise
        mu, sigma = cps_step(noise - x0, x, t, s, eta)
        old = (mu - (1 - s) * x0) / noise
        torch.testing.assert_close(old**2 + sigma**2, (s**2).expand_as(old))


def test_flow_grpo_keeps_the_variance_up_to_the_square_of_the_step():
    """Halving the step must quarter what is lost of a Gaussian's variance."""
    t = torch.tensor(0.6, dtype=torch.float64)
    losses = []
    for length in (0.02, 0.01):
        s, x = t - length, torch.ones(1, 1, 1, 1, dtype=torch.float64)
        mu, sigma = flow_grpo_step(gaussian_velocity(x, t), x, t, s, 0.7)
        losses.append(float((mu**2 * variance(t) + sigma**2 - variance(s)).abs()))
    assert 3.5 < losses[0] / losses[1] < 4.5


def test_flow_grpo_equals_the_published_closed_form():
    schedule = flow().schedule(6, "flow-grpo")
    x, velocity = torch.randn(2, 2, 4, 4, 4).unbind(0)
    for i in range(5):
        t, s = schedule.t[i], schedule.s[i]
        std = 0.7 * (t / (1 - (schedule.t[1] if i == 0 else t))).sqrt()
        mean = x * (1 - std**2 / (2 * t) * (t - s)) - velocity * (1 + std**2 * (1 - t) / (2 * t)) * (t - s)
        mu, sigma = schedule.step(velocity, x, i, 0.7)
        torch.testing.assert_close(mu, mean, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(sigma, std * (t - s).sqrt())


@pytest.mark.parametrize("sde", SDES)
def test_the_last_step_leaves_no_noise_in_the_picture(sde):
    deviations = flow("dynamic").schedule(5, sde).sigma(0.7)
    assert deviations[-1] == 0 and (deviations[:-1] > 0).all() and deviations.isfinite().all()


def test_a_step_with_next_to_no_noise_is_deterministic():
    schedule = flow().schedule(5)
    assert 0 < schedule.s[-2] < 0.02 and schedule.sigma(0.7)[-2] == 0
    x, velocity = torch.randn(2, 1, 4, 2, 2).unbind(0)
    assert torch.equal(schedule.step(velocity, x, 3, 0.7)[0], schedule.step(velocity, x, 3, 0.0)[0])


@pytest.mark.parametrize("sde", SDES)
def test_density_of_a_step_equals_torch_distributions(sde):
    schedule = flow().schedule(5, sde)
    x, velocity, noise = torch.randn(3, 3, 4, 4, 4).unbind(0)
    mu, sigma = schedule.step(velocity, x, torch.tensor([0, 1, 2]), 0.7)
    following = mu + sigma * noise
    exact = Normal(mu, sigma.expand_as(mu)).log_prob(following).mean((1, 2, 3))
    torch.testing.assert_close(log_prob(following, mu, sigma), exact)


def test_forward_process_meets_the_schedule_and_its_own_velocity():
    process = flow()
    x0, noise = torch.randn(2, 2, 4, 4, 4).unbind(0)
    level = torch.tensor([100, 900])
    x, t = process.add_noise(x0, noise, level), process.timestep(level)
    torch.testing.assert_close(x, process.scheduler.scale_noise(x0, t, noise))
    velocity = process.target(x0, noise, level)
    share = (t / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(x - share * process.predicted(velocity, x, level), x0, atol=1e-5, rtol=0)
    assert process.weight(level).tolist() == [1, 1]


@pytest.mark.parametrize("step", STEPS.values())
def test_half_precision_is_refused(step):
    x, t = torch.zeros(1, 4, 2, 2), torch.tensor(0.5)
    with pytest.raises(TypeError, match="float32"):
        step(x.bfloat16(), x, t, t / 2, 0.7)
