"""Samples latents: `solve` keeps only the result, `rollout` also the trajectory and its densities."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from safediffusion.config.schema import Solver
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.gaussian import log_prob
from safediffusion.diffusion.noise_process import Schedule
from safediffusion.diffusion.solver import Steps


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled.

    Attributes:
        guidance: scale of classifier-free guidance; 1 is off.
        batch_size: images per forward batch; the result does not depend on it.
        solver: of the deterministic steps, see `Steps`.
    """

    guidance: float
    batch_size: int
    solver: Solver = "ddim"


@dataclass(frozen=True, kw_only=True)
class StochasticSampling(Sampling):
    """How latents and their densities are sampled.

    Attributes:
        eta: one value per denoising step; 0 is a deterministic step.
        guided_density: take the density under the guided mean, else under the unguided one.
        branch_size: neighbouring rows, of one prompt, that start from the first one's initial latents. The
            steps before the first stochastic one are computed once for all of them.
        keep_means: whether to keep the means of the densities.
    """

    eta: Sequence[float]
    guided_density: bool = True
    branch_size: int = 1
    keep_means: bool = False


@dataclass(frozen=True)
class Rollout:
    """The trajectories of n sampled images over T denoising steps.

    Attributes:
        latents: from noise to clean, (n, T+1, c, h, w) float32.
        log_probs: log-density of every stochastic step, 0 at deterministic ones, (n, T) float32.
        means: the mean of each step's density, (n, T, c, h, w) float32; None unless `keep_means` is set.
    """

    latents: Tensor
    log_probs: Tensor
    means: Tensor | None = None

    @property
    def clean(self) -> Tensor:
        """The last latents, (n, c, h, w)."""
        return self.latents[:, -1]


def stochastic_steps(schedule: Schedule, eta: Sequence[float]) -> list[int]:
    """Positions of the steps with a deviation above 0; only these have a density and can be trained."""
    # one copy from the device per distinct eta, not one per step: each makes the host wait
    deviations = {value: schedule.sigma(value).tolist() for value in set(eta)}
    return [i for i, value in enumerate(eta) if deviations[value][i] > 0]


@torch.no_grad()
def rollout(
    diffuser: Diffuser, schedule: Schedule, cond: Condition, noise: Tensor, sampling: StochasticSampling
) -> Rollout:
    """Sample from the policy and keep the trajectory.

    Args:
        diffuser: the policy.
        schedule: T denoising steps.
        cond: text conditioning of n rows.
        noise: initial latents, then one slice per stochastic step, (n, 1 + steps, c, h, w) float32.
        sampling: how to sample.
    """
    stochastic = stochastic_steps(schedule, sampling.eta)
    opening = noise[:, :1]
    if sampling.branch_size > 1:
        shared = stochastic[0] if stochastic else len(schedule)
        opening = _shared_opening(diffuser, schedule, cond, noise[:, 0], sampling, shared)
    size = sampling.batch_size
    parts = [
        _trajectory(diffuser, schedule, c, x, z, sampling, set(stochastic))
        for c, x, z in zip(cond.split(size), opening.split(size), noise[:, 1:].split(size), strict=True)
    ]
    paths, densities, means = zip(*parts, strict=True)
    return Rollout(
        torch.cat(paths),
        torch.cat(densities),
        torch.cat([torch.stack(part, 1) for part in means]) if sampling.keep_means else None,
    )


@contextmanager
def any_rows(diffuser: Diffuser) -> Iterator[None]:
    """Inside, a call of the network has as many rows as it is given, instead of the round's common number."""
    rows, diffuser.call_rows = diffuser.call_rows, None
    try:
        yield
    finally:
        diffuser.call_rows = rows


def _shared_opening(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    start: Tensor,
    sampling: StochasticSampling,
    steps: int,
) -> Tensor:
    """Latents of the first `steps` deterministic steps, (n, 1 + steps, c, h, w), computed once per branch."""
    size, branch = sampling.batch_size, sampling.branch_size
    batches = zip(cond[::branch].split(size), start[::branch].to(diffuser.device).split(size), strict=True)
    with any_rows(diffuser):  # these steps have no density, so their rounding does not enter a ratio
        paths = [
            torch.stack([x, *islice(_deterministic_path(diffuser, schedule, c, x, sampling), steps)], 1)
            for c, x in batches
        ]
    return torch.cat(paths).repeat_interleave(branch, 0)


def _trajectory(
    diffuser: Diffuser,
    schedule: Schedule,
    cond: Condition,
    opening: Tensor,
    noise: Tensor,
    sampling: StochasticSampling,
    stochastic: set[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Latents (n, T+1, c, h, w), log-densities (n, T) and T means (n, c, h, w) of one batch, if kept."""
    guidance, eta = sampling.guidance, sampling.eta
    two_means = guidance > 1 and not sampling.guided_density and not diffuser.distilled
    path = list(opening.to(diffuser.device).unbind(1))
    draws = iter(noise.to(diffuser.device).unbind(1))
    solver, x, done = Steps(schedule, sampling.solver), path[-1], len(path) - 1
    densities, means = [x.new_zeros(len(x))] * done, path[1:] if sampling.keep_means else []
    for i, t in list(enumerate(schedule.timesteps))[done:]:
        if two_means:
            output, plain = diffuser.predict_both(x, t.expand(len(x)), cond, guidance)
        else:
            output = plain = diffuser.predict(x, t.expand(len(x)), cond, guidance)
        if i in stochastic:
            mean, sigma = schedule.step(output, x, i, eta[i])
            x = mean + sigma * next(draws)
            if plain is not output:  # sampled by the guided policy, with the density of the unguided one
                mean = schedule.step(plain, path[-1], i, eta[i])[0]
            densities.append(log_prob(x, mean, sigma))
            solver.forget()
        else:
            x = mean = solver(output, x, i)
            densities.append(x.new_zeros(len(x)))
        path.append(x)
        if sampling.keep_means:  # as large as the trajectory
            means.append(mean)
    return torch.stack(path, 1), torch.stack(densities, 1), means


def _deterministic_path(
    diffuser: Diffuser, schedule: Schedule, cond: Condition, latents: Tensor, sampling: Sampling
) -> Iterator[Tensor]:
    """Latents after each deterministic step, (n, c, h, w)."""
    steps, x = Steps(schedule, sampling.solver), latents
    for i, t in enumerate(schedule.timesteps):
        x = steps(diffuser.predict(x, t.expand(len(x)), cond, sampling.guidance), x, i)
        yield x


@torch.no_grad()
def solve(
    diffuser: Diffuser, schedule: Schedule, cond: Condition, latents: Tensor, sampling: Sampling
) -> Tensor:
    """Clean latents by the deterministic sampler, (n, c, h, w); nothing else is kept.

    Args:
        diffuser: the model.
        schedule: its denoising steps.
        cond: text conditioning of n rows.
        latents: initial noise, (n, c, h, w) float32.
        sampling: how to sample.
    """
    done, size = [], sampling.batch_size
    for c, x in zip(cond.split(size), latents.to(diffuser.device).split(size), strict=True):
        (last,) = deque(_deterministic_path(diffuser, schedule, c, x, sampling), maxlen=1)
        done.append(last)
    return torch.cat(done)


@torch.no_grad()
def decode(diffuser: Diffuser, latents: Tensor, batch_size: int) -> Tensor:
    """Images (n, 3, H, W) in [0, 1] from clean latents, in batches."""
    return torch.cat([diffuser.decode(x) for x in latents.split(batch_size)])
