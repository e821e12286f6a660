"""The samplers against an ODE whose solution is known: data that are normal, and a network that is exact."""

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from safediffusion.diffusion.ddim import make_schedule
from safediffusion.diffusion.flow import Flow
from safediffusion.diffusion.solver import Steps, corrections

MEAN, SPREAD = 1.5, 0.5  # of the data


def diffusion(steps):
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False
    )
    return make_schedule(scheduler, steps)


def flow(steps):
    return Flow(FlowMatchEulerDiscreteScheduler(shift=3.0), "cpu", lambda steps: {}).schedule(steps)


def exact_output(schedule, x, i):
    """What a perfect network says at step i: the noise, or the velocity."""
    signal, noise = (level[i] for level in schedule.levels[:2])
    x0 = (MEAN * noise**2 + signal * SPREAD**2 * x) / (signal**2 * SPREAD**2 + noise**2)
    e = (x - signal * x0) / noise
    return e - x0 if hasattr(schedule, "sde") else e


def error(make, steps, solver):
    """Largest distance from the ODE's solution after the last step but one; the last is of first order."""
    schedule, z = make(steps), torch.linspace(-2, 2, 9).view(1, 1, 3, 3)

    def solution(signal, noise):
        return signal * MEAN + (signal**2 * SPREAD**2 + noise**2).sqrt() * z

    signal_t, noise_t, signal_s, noise_s = schedule.levels
    x, along = solution(signal_t[0], noise_t[0]), Steps(schedule, solver)
    for i in range(steps - 1):
        x = along(exact_output(schedule, x, i), x, i)
    return (x - solution(signal_s[steps - 2], noise_s[steps - 2])).abs().max().item()


@pytest.mark.parametrize("make", [diffusion, flow])
def test_errors_fall_with_the_order_of_the_solver(make):
    first, second = ([error(make, n, solver) for n in (20, 40, 80)] for solver in ("ddim", "dpm++"))
    order = [math.log2(own[1] / own[2]) for own in (first, second)]
    assert order[0] == pytest.approx(1, abs=0.35)
    assert order[1] == pytest.approx(2, abs=0.6)


@pytest.mark.parametrize("make", [diffusion, flow])
def test_without_a_step_before_both_solvers_agree(make):
    schedule, x = make(8), torch.randn(2, 1, 3, 3)
    for i in (0, 3, 7):
        output = exact_output(schedule, x, i)
        torch.testing.assert_close(
            Steps(schedule, "dpm++")(output, x, i),
            Steps(schedule, "ddim")(output, x, i),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize("make", [diffusion, flow])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_first_and_last_steps_are_of_first_order_and_nothing_is_infinite(make, steps):
    found = corrections(make(steps))
    assert len(found) == steps and found.isfinite().all()
    assert found[0] == found[-1] == 0


def test_a_forgotten_path_is_not_leant_on():
    schedule, x = diffusion(8), torch.randn(2, 1, 3, 3)
    along = Steps(schedule, "dpm++")
    x = along(exact_output(schedule, x, 2), x, 2)
    along.forget()
    output = exact_output(schedule, x, 3) + 1
    assert torch.equal(along(output, x, 3), Steps(schedule, "dpm++")(output, x, 3))
