"""Sampling with a memory: the latents gone through and the density of every step; decoding is apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.gaussian import log_prob
from safediffusion.diffusion.process import Schedule
from safediffusion.diffusion.solver import Solver, Steps


@dataclass(frozen=True)
class Rollout:
    """What one round of sampling leaves behind.

    Attributes:
        latents: from noise to clean, (n, T+1, c, h, w) float32.
        log_probs: log-density of every stochastic step, 0 at deterministic ones, (n, T) float32.
        timesteps: (T,) int64.
        prompt_ids: index of each row's prompt, (n,) int64.
    """

    latents: Tensor
    log_probs: Tensor
    timesteps: Tensor
    prompt_ids: Tensor

    @property
    def clean(self) -> Tensor:
        """The last latents, (n, c, h, w)."""
        return self.latents[:, -1]


def stochastic_steps(schedule: Schedule, eta: Sequence[float]) -> list[int]:
    """Positions whose deviation is above 0; only these have a density and can be trained."""
    deviations = {value: schedule.sigma(value).tolist() for value in set(eta)}  # a wait for the device each
    return [i for i, value in enumerate(eta) if deviations[value][i] > 0]


@torch.no_grad()
def rollout(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    noise: Tensor,
    prompt_ids: Tensor,
    *,
    eta: Sequence[float],
    guidance: float,
    batch_size: int,
    guided_density: bool = True,
    solver: Solver = "ddim",
) -> Rollout:
    """Sample from the guided policy and keep the trajectory.

    Args:
        cond: text conditioning of n rows.
        noise: initial latents, then one slice a stochastic step, (n, 1 + steps, c, h, w) float32.
        prompt_ids: (n,).
        eta: one value a step; 0 is a deterministic step.
        batch_size: images in one forward batch; the result does not depend on it.
        guided_density: density under the guided mean, else under the unguided one.
        solver: of the deterministic steps.
    """
    parts = [
        _trajectory(diffuser, schedule, c, z, eta, guidance, guided_density, solver)
        for c, z in zip(cond.split(batch_size), noise.split(batch_size), strict=True)
    ]
    latents, log_probs = (torch.cat(list(part)) for part in zip(*parts, strict=True))
    return Rollout(latents, log_probs, schedule.timesteps, prompt_ids)


def _trajectory(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    noise: Tensor,
    eta: Sequence[float],
    guidance: float,
    guided_density: bool,
    solver: Solver,
) -> tuple[Tensor, Tensor]:
    noise = noise.to(diffuser.device)
    draws = iter(noise.unbind(1))
    x = next(draws)
    path, densities = [x], []
    stochastic = set(stochastic_steps(schedule, eta))
    along = Steps(schedule, solver)
    for i, t in enumerate(schedule.timesteps):
        if guidance > 1 and not guided_density and not diffuser.distilled:
            output, plain = diffuser.predict_both(x, t.expand(len(x)), cond, guidance)
        else:
            output = plain = diffuser.predict(x, t.expand(len(x)), cond, guidance)
        if i in stochastic:
            mu, sigma = schedule.step(output, x, i, eta[i])
            following = mu + sigma * next(draws)
            centre = mu if plain is output else schedule.step(plain, x, i, eta[i])[0]
            densities.append(log_prob(following, centre, sigma))
            along.forget()
        else:
            following = along(output, x, i)
            densities.append(torch.zeros(len(x), device=x.device))
        x = following
        path.append(x)
    return torch.stack(path, 1), torch.stack(densities, 1)


@torch.no_grad()
def solve(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    latents: Tensor,
    *,
    guidance: float,
    batch_size: int,
    solver: Solver = "ddim",
) -> Tensor:
    """Clean latents by the deterministic sampler, (n, c, h, w); no memory is kept.

    Args:
        cond: text conditioning of n rows.
        latents: initial noise, (n, c, h, w) float32.
        solver: see `Steps`.
    """
    done = []
    for c, x in zip(cond.split(batch_size), latents.to(diffuser.device).split(batch_size), strict=True):
        along = Steps(schedule, solver)
        for i, t in enumerate(schedule.timesteps):
            x = along(diffuser.predict(x, t.expand(len(x)), c, guidance), x, i)
        done.append(x)
    return torch.cat(done)


@torch.no_grad()
def decode(diffuser: Diffuser, latents: Tensor, batch_size: int) -> Tensor:
    """Images (n, 3, H, W) in [0, 1] from clean latents, in batches."""
    return torch.cat([diffuser.decode(x) for x in latents.split(batch_size)])
