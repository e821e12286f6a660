"""Flow matching as a stochastic process with a density.

The mathematics comes first, as pure functions in float32; the noise process that uses it stands below.

x_t = (1 - t) x0 + t noise with t in [0, 1]; the network predicts the velocity noise - x0 (Liu et al., 2023).
Its sampler is an ODE. Two ways to make it stochastic keep the distribution of every x_t: `flow_grpo_step`, an
Euler step of the matching SDE, up to the step size; `cps_step`, exactly. Both are Euler's step at eta 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from safediffusion.config.schema import Sde
from safediffusion.diffusion.gaussian import require_float32
from safediffusion.diffusion.noise_process import at, refuse_more_steps

# SD3's sampler ends with a step to t = 0.009. So little noise changes no image, but the gradient of its
# density grows as 1 / sigma and would outweigh that of all other steps.
LEAST_SIGMA = 0.02


def split_velocity(velocity: Tensor, latents: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted clean latents and predicted noise, each (n, c, h, w)."""
    return latents - t * velocity, latents + (1 - t) * velocity


def cps_sigma(s: Tensor, eta: float) -> Tensor:
    """Deviation of x_s: the share sin(eta pi/2) of its noise is drawn anew; 0 below LEAST_SIGMA."""
    sigma = s * math.sin(eta * math.pi / 2)
    return sigma * (sigma >= LEAST_SIGMA)


def cps_step(velocity: Tensor, latents: Tensor, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Mean and deviation of x_s given x_t by coefficients-preserving sampling (Wang & Yu, 2025).

    Old and new noise together keep the weight s, so no noise is left in the image.

    Args:
        velocity: the network's output, (n, c, h, w) float32.
        latents: x_t, (n, c, h, w) float32.
        t, s: share of noise now and after the step, (n, 1, 1, 1) or scalar.
        eta: 0 is Euler's step, 1 draws all of the noise anew.

    Returns:
        mu (n, c, h, w) and sigma, shaped as s.
    """
    require_float32(velocity, latents)
    sigma = cps_sigma(s, eta)
    x0, noise = split_velocity(velocity, latents, t)
    return (1 - s) * x0 + (s**2 - sigma**2).sqrt() * noise, sigma


def flow_grpo_diffusion(t: Tensor, s: Tensor, eta: float) -> Tensor:
    """Diffusion coefficient eta sqrt(t / (1 - t)) of the SDE (Liu et al., 2025, eq. 9).

    It has a pole at t = 1, where 1 - s stands in for 1 - t as in the published code. The step to s = 0 is
    deterministic here, because noise added by it would stay in the image.
    """
    below_one = torch.where(t < 1, t, s)
    return eta * (t / (1 - below_one)).sqrt() * (s > 0)


def flow_grpo_step(
    velocity: Tensor, latents: Tensor, t: Tensor, s: Tensor, eta: float
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of x_s given x_t by an Euler-Maruyama step of Flow-GRPO's SDE (Liu et al., 2025).

    Args:
        velocity: the network's output, (n, c, h, w) float32.
        latents: x_t, (n, c, h, w) float32.
        t, s: share of noise now and after the step, (n, 1, 1, 1) or scalar.
        eta: noise level, 0.7 in the paper; 0 is Euler's step.

    Returns:
        mu (n, c, h, w) and sigma, shaped as t.
    """
    require_float32(velocity, latents)
    g = flow_grpo_diffusion(t, s, eta)
    _, noise = split_velocity(velocity, latents, t)
    return latents + (velocity + g**2 / (2 * t) * noise) * (s - t), g * (t - s).sqrt()


@dataclass(frozen=True)
class FlowSchedule:
    """The noise levels of a sampler's steps.

    Attributes:
        timesteps: the network's timestep argument, (T,) float32, descending.
        t: share of noise at each step, (T,) float32.
        s: share of noise after it, (T,) float32; 0 at the end.
        sde: how a step with eta > 0 is made stochastic.
    """

    timesteps: Tensor
    t: Tensor
    s: Tensor
    sde: Sde = "cps"

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of signal and noise before each step, and after it: four tensors (T,) float32."""
        return 1 - self.t, self.t, 1 - self.s, self.s

    def __len__(self) -> int:
        return len(self.timesteps)

    def clean(self, output: Tensor, latents: Tensor, i: int | Tensor) -> Tensor:
        """Predicted clean latents at step i, (n, c, h, w)."""
        return split_velocity(output, latents, at(self.t, i))[0]

    def sigma(self, eta: float) -> Tensor:
        """Deviation of every step, (T,) float32."""
        if self.sde == "cps":
            return cps_sigma(self.s, eta)
        return flow_grpo_diffusion(self.t, self.s, eta) * (self.t - self.s).sqrt()

    def step(self, output: Tensor, latents: Tensor, i: int | Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the latents after step i, see `cps_step` and `flow_grpo_step`."""
        step = cps_step if self.sde == "cps" else flow_grpo_step
        return step(output, latents, at(self.t, i), at(self.s, i), eta)


def even_steps(steps: int) -> list[float]:
    """Shares of noise at evenly spaced steps, before the time shift."""
    return np.linspace(1, 1 / steps, steps).tolist()


class Flow:
    """The noise process of a flow-matching model.

    Args:
        scheduler: of diffusers, with the model's time shift.
        device: of the schedules.
        options: what the plain pipeline gives the scheduler's `set_timesteps` for a number of steps.
    """

    def __init__(
        self, scheduler: Any, device: torch.device | str, options: Callable[[int], dict[str, Any]]
    ) -> None:
        self.scheduler, self.device, self.options = scheduler, device, options
        self.levels: int = scheduler.config["num_train_timesteps"]
        self.t = self.schedule(self.levels).t.flip(0)

    def schedule(self, steps: int, sde: Sde = "cps") -> FlowSchedule:
        """The noise levels that the plain pipeline uses for `steps` steps."""
        refuse_more_steps(self.scheduler, steps)
        self.scheduler.set_timesteps(steps, **self.options(steps))
        t = self.scheduler.sigmas.float().to(self.device)
        return FlowSchedule(self.scheduler.timesteps.to(self.device), t[:-1], t[1:], sde)

    def timestep(self, level: Tensor) -> Tensor:
        """The network's timestep argument, (n,) float32."""
        return self.t[level] * self.levels

    def add_noise(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """x_t of the forward process, (n, c, h, w)."""
        require_float32(x0, noise)
        t = at(self.t, level)
        return (1 - t) * x0 + t * noise

    def target(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """The velocity, (n, c, h, w)."""
        return noise - x0

    def predicted(self, output: Tensor, latents: Tensor, level: Tensor) -> Tensor:
        """The velocity: the network's output itself, (n, c, h, w)."""
        return output

    def weight(self, level: Tensor) -> Tensor:
        """1 at every level, as in flow matching's own loss, (n,)."""
        return torch.ones_like(self.t[level])


def shift_by_length(scheduler: Any, tokens: int) -> float:
    """The time shift mu by a scheduler's settings: the more tokens, the more of the steps are noisy."""
    c = scheduler.config
    return calculate_shift(
        tokens, c["base_image_seq_len"], c["max_image_seq_len"], c["base_shift"], c["max_shift"]
    )


def flow_by_length(
    theirs: Any, device: torch.device | str, tokens: int, *, even: bool = True
) -> tuple[FlowMatchEulerDiscreteScheduler, Flow]:
    """A scheduler like a pipeline's own, and the flow whose time shift depends on the size of the image.

    Args:
        theirs: the pipeline's scheduler.
        device: of the schedules.
        tokens: of an image, as the network sees it.
        even: whether the pipeline gives the scheduler evenly spaced noise levels, and leaves it no choice.
    """
    made: Any = FlowMatchEulerDiscreteScheduler.from_config(theirs.config)
    mu = shift_by_length(made, tokens)
    return made, Flow(made, device, lambda n: {"mu": mu} | ({"sigmas": even_steps(n)} if even else {}))
