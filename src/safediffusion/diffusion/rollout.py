"""Sampling with a memory: the latents gone through and the density of every step; decoding is apart."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.gaussian import log_prob
from safediffusion.diffusion.noise_process import Schedule
from safediffusion.diffusion.solver import Solver, Steps


@dataclass(frozen=True)
class Rollout:
    """What one round of sampling leaves behind.

    Attributes:
        latents: from noise to clean, (n, T+1, c, h, w) float32.
        log_probs: log-density of every stochastic step, 0 at deterministic ones, (n, T) float32.
        timesteps: (T,) int64.
        prompt_ids: index of each row's prompt, (n,) int64.
        means: of every step, what its density is around, (n, T, c, h, w) float32; None where not asked for.
    """

    latents: Tensor
    log_probs: Tensor
    timesteps: Tensor
    prompt_ids: Tensor
    means: Tensor | None = None

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
    shared: int = 1,
    keep_means: bool = False,
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
        shared: rows side by side, of one prompt, that start from the first one's initial latents; what comes
            before the first stochastic step is computed once for all of them.
        keep_means: whether to keep the means of the densities.
    """
    stochastic = stochastic_steps(schedule, eta)
    opening = noise[:, :1]
    if shared > 1:
        first = stochastic[0] if stochastic else len(schedule)
        with any_rows(diffuser):  # nothing here has a density that must be met again
            paths = [
                torch.stack([x, *islice(_along(diffuser, schedule, c, x, guidance, solver), first)], 1)
                for c, x in zip(
                    cond[::shared].split(batch_size),
                    noise[::shared, 0].to(diffuser.device).split(batch_size),
                    strict=True,
                )
            ]
        opening = torch.cat(paths).repeat_interleave(shared, 0)
    parts = [
        _trajectory(diffuser, schedule, c, x, z, eta, set(stochastic), guidance, guided_density, solver)
        for c, x, z in zip(
            *(cond.split(batch_size), opening.split(batch_size), noise[:, 1:].split(batch_size)), strict=True
        )
    ]
    paths, densities, means = zip(*parts, strict=True)
    return Rollout(
        torch.cat(paths),
        torch.cat(densities),
        schedule.timesteps,
        prompt_ids,
        torch.cat([torch.stack(part, 1) for part in means]) if keep_means else None,
    )


@contextmanager
def any_rows(diffuser: Diffuser) -> Iterator[None]:
    """Inside, calls of the network have the rows they are asked for, filled up to no common shape."""
    rows, diffuser.call_rows = diffuser.call_rows, None
    try:
        yield
    finally:
        diffuser.call_rows = rows


def _trajectory(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    opening: Tensor,
    noise: Tensor,
    eta: Sequence[float],
    stochastic: set[int],
    guidance: float,
    guided_density: bool,
    solver: Solver,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    path = list(opening.to(diffuser.device).unbind(1))
    draws = iter(noise.to(diffuser.device).unbind(1))
    along, x, done = Steps(schedule, solver), path[-1], len(path) - 1
    densities, means = [x.new_zeros(len(x))] * done, path[1:]
    for i, t in list(enumerate(schedule.timesteps))[done:]:
        if guidance > 1 and not guided_density and not diffuser.distilled:
            output, plain = diffuser.predict_both(x, t.expand(len(x)), cond, guidance)
        else:
            output = plain = diffuser.predict(x, t.expand(len(x)), cond, guidance)
        if i in stochastic:
            mu, sigma = schedule.step(output, x, i, eta[i])
            x = mu + sigma * next(draws)
            centre = mu if plain is output else schedule.step(plain, path[-1], i, eta[i])[0]
            densities.append(log_prob(x, centre, sigma))
            along.forget()
        else:
            x = centre = along(output, x, i)
            densities.append(x.new_zeros(len(x)))
        path.append(x)
        means.append(centre)
    return torch.stack(path, 1), torch.stack(densities, 1), means


def _along(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    latents: Tensor,
    guidance: float,
    solver: Solver,
) -> Iterator[Tensor]:
    """Latents after each deterministic step, (n, c, h, w)."""
    steps, x = Steps(schedule, solver), latents
    for i, t in enumerate(schedule.timesteps):
        x = steps(diffuser.predict(x, t.expand(len(x)), cond, guidance), x, i)
        yield x


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
        (last,) = deque(_along(diffuser, schedule, c, x, guidance, solver), maxlen=1)
        done.append(last)
    return torch.cat(done)


@torch.no_grad()
def decode(diffuser: Diffuser, latents: Tensor, batch_size: int) -> Tensor:
    """Images (n, 3, H, W) in [0, 1] from clean latents, in batches."""
    return torch.cat([diffuser.decode(x) for x in latents.split(batch_size)])
