"""Which denoising steps of a round are stochastic and which are trained: one choice for all groups."""

import torch
from torch import Tensor

from safediffusion.diffusion import noise
from safediffusion.diffusion.noise_process import Schedule
from safediffusion.diffusion.rollout import stochastic_steps


def trainable_steps(schedule: Schedule, eta: float) -> list[int]:
    """Positions of the steps with a density; a step with deviation 0 can never be trained."""
    return stochastic_steps(schedule, [eta] * len(schedule))


def step_weights(schedule: Schedule, eta: float) -> Tensor:
    """Weights that equalise the gradient's size over the trainable steps, with mean 1 over those, (T,).

    The gradient of a log-density with respect to the output is (x - mu) / sigma times (d mu / d output) /
    sigma. The first factor has unit variance. The second is several times larger at the last wide step of a
    schedule than anywhere else, so without these weights that step dominates Adam's moments and the clipped
    norm.
    """
    sigma = schedule.sigma(eta)
    zero, one = (torch.full((1, 1, 1, 1), value, device=sigma.device) for value in (0.0, 1.0))
    reach = [
        schedule.step(one, zero, i, eta)[0] - schedule.step(zero, zero, i, eta)[0] for i in range(len(sigma))
    ]
    weights = sigma / torch.cat(reach).flatten().abs()
    return weights / weights[sigma > 0].mean()


def window_eta(schedule: Schedule, eta: float, window: int, seed: int, step: int) -> list[float]:
    """Eta of every step: `eta` inside a random window of trainable steps, 0 outside (MixGRPO, 2025).

    Args:
        window: number of stochastic steps; 0 makes every step stochastic.
        seed, step: of the run and the round. The window depends on nothing else, so all groups and processes
            share it.
    """
    inside = trainable_steps(schedule, eta)
    if window:
        last = max(0, len(inside) - window)
        start = int(noise.generator(noise.SUBSET, seed, step, 0).integers(last + 1))
        inside = inside[start : start + window]
    return [eta if i in inside else 0.0 for i in range(len(schedule))]


def trained_steps(candidates: list[int], fraction: float, seed: int, step: int) -> list[int]:
    """A random share of the stochastic steps, at least one, in sampling order."""
    count = max(1, round(fraction * len(candidates)))
    chosen = noise.generator(noise.SUBSET, seed, step, 1).choice(candidates, size=count, replace=False)
    return sorted(int(i) for i in chosen)
