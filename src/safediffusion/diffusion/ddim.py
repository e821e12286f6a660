"""DDIM as a stochastic process with a density (Song et al., 2021).

The mathematics comes first, as pure functions in float32; the noise process that uses it stands below.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from safediffusion.config.schema import Sde
from safediffusion.diffusion.gaussian import require_float32
from safediffusion.diffusion.noise_process import at, refuse_more_steps

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class DdimSchedule:
    """The noise levels of a sampler's steps.

    Attributes:
        timesteps: the network's timestep argument, (T,) int64, descending.
        alpha_t: cumulative alpha at each timestep, (T,) float32.
        alpha_s: cumulative alpha at the next, less noisy step, (T,) float32.
        prediction: what the network predicts.
    """

    timesteps: Tensor
    alpha_t: Tensor
    alpha_s: Tensor
    prediction: Prediction

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of signal and noise before each step, and after it: four tensors (T,) float32."""
        t, s = self.alpha_t, self.alpha_s
        return t.sqrt(), (1 - t).sqrt(), s.sqrt(), (1 - s).sqrt()

    def __len__(self) -> int:
        return len(self.timesteps)

    def clean(self, output: Tensor, latents: Tensor, i: int | Tensor) -> Tensor:
        """Predicted clean latents at step i, (n, c, h, w)."""
        return split_prediction(output, latents, at(self.alpha_t, i), self.prediction)[0]

    def sigma(self, eta: float) -> Tensor:
        """Deviation of every step, (T,) float32."""
        return ddim_sigma(self.alpha_t, self.alpha_s, eta)

    def step(self, output: Tensor, latents: Tensor, i: int | Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the latents after step i, see `ddim_step`."""
        alphas = at(self.alpha_t, i), at(self.alpha_s, i)
        return ddim_step(output, latents, *alphas, eta, self.prediction)


def make_schedule(scheduler: DDIMScheduler, steps: int, device: torch.device | str = "cpu") -> DdimSchedule:
    """The noise levels of `DDIMScheduler.set_timesteps(steps)`."""
    refuse_more_steps(scheduler, steps)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    previous = timesteps - scheduler.config["num_train_timesteps"] // steps
    alphas = scheduler.alphas_cumprod.float()
    alpha_s = torch.where(previous >= 0, alphas[previous.clamp(min=0)], scheduler.final_alpha_cumprod.float())
    return DdimSchedule(
        timesteps.to(device),
        alphas[timesteps].to(device),
        alpha_s.to(device),
        scheduler.config["prediction_type"],
    )


def split_prediction(
    output: Tensor, latents: Tensor, alpha_t: Tensor, prediction: Prediction
) -> tuple[Tensor, Tensor]:
    """Predicted clean latents and predicted noise from any parametrisation of the network.

    Args:
        output: the network's output, (n, c, h, w) float32.
        latents: x_t, (n, c, h, w) float32.
        alpha_t: cumulative alpha, broadcastable to latents.
        prediction: epsilon, v_prediction (Salimans & Ho, 2022) or sample.

    Returns:
        x0 and eps, each (n, c, h, w).
    """
    signal, noise = alpha_t.sqrt(), (1 - alpha_t).sqrt()
    if prediction == "epsilon":
        return (latents - noise * output) / signal, output
    if prediction == "v_prediction":
        return signal * latents - noise * output, signal * output + noise * latents
    return output, (latents - signal * output) / noise


def ddim_sigma(alpha_t: Tensor, alpha_s: Tensor, eta: float | Tensor) -> Tensor:
    """Deviation of x_s given x_t (eq. 16); eta 0 is deterministic, 1 is DDPM's variance."""
    return eta * ((1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)).sqrt()


def ddim_step(
    output: Tensor,
    latents: Tensor,
    alpha_t: Tensor,
    alpha_s: Tensor,
    eta: float | Tensor,
    prediction: Prediction = "epsilon",
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of x_s given x_t under DDIM (eq. 12 and 16).

    Args:
        output: the network's output, (n, c, h, w) float32.
        latents: x_t, (n, c, h, w) float32.
        alpha_t, alpha_s: cumulative alphas at t and at the next, less noisy step, (n, 1, 1, 1) or scalar.
        eta: 0 is deterministic, 1 is DDPM's variance.
        prediction: what the network predicts.

    Returns:
        mu (n, c, h, w) and sigma, shaped as alpha_t.
    """
    require_float32(output, latents)
    sigma = ddim_sigma(alpha_t, alpha_s, eta)
    x0, eps = split_prediction(output, latents, alpha_t, prediction)
    rest = (1 - alpha_s - sigma**2).clamp(min=0)  # 0 from pure noise with eta 1, but for rounding
    return alpha_s.sqrt() * x0 + rest.sqrt() * eps, sigma


def add_noise(x0: Tensor, noise: Tensor, alpha_t: Tensor) -> Tensor:
    """x_t of the forward process, (n, c, h, w); alpha_t broadcastable."""
    require_float32(x0, noise)
    return alpha_t.sqrt() * x0 + (1 - alpha_t).sqrt() * noise


def noise_weight(alpha_t: Tensor) -> Tensor:
    """w_t = min(2, sqrt(a_t / (1 - a_t))): noisy steps count less, clean ones at most 2."""
    return (alpha_t / (1 - alpha_t)).sqrt().clamp(max=2)


class Ddim:
    """The noise process of a model with cumulative alphas.

    What it predicts is read as noise, but v as v: that is known from pure noise too, which some models see.

    Args:
        scheduler: the model's noise levels and parametrisation.
        device: of the schedules.
    """

    def __init__(self, scheduler: DDIMScheduler, device: torch.device | str) -> None:
        self.scheduler, self.device = scheduler, device
        self.alphas = scheduler.alphas_cumprod.float().to(device)
        self.levels = len(self.alphas)
        self.predicts_v = scheduler.config["prediction_type"] == "v_prediction"

    def schedule(self, steps: int, sde: Sde = "cps") -> DdimSchedule:
        """See `make_schedule`; `sde` concerns flow matching alone, as DDIM is stochastic in one way only."""
        return make_schedule(self.scheduler, steps, self.device)

    def timestep(self, level: Tensor) -> Tensor:
        """A level is a timestep."""
        return level

    def add_noise(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """x_t of the forward process, (n, c, h, w)."""
        return add_noise(x0, noise, at(self.alphas, level))

    def target(self, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """The noise, or v, (n, c, h, w)."""
        if not self.predicts_v:
            return noise
        alpha = at(self.alphas, level)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * x0

    def predicted(self, output: Tensor, latents: Tensor, level: Tensor) -> Tensor:
        """The noise computed from the network's output, or v, (n, c, h, w)."""
        if self.predicts_v:
            return output
        prediction: Prediction = self.scheduler.config["prediction_type"]
        return split_prediction(output, latents, at(self.alphas, level), prediction)[1]

    def weight(self, level: Tensor) -> Tensor:
        """See `noise_weight`, (n,); an error of v counts 1 at every level."""
        alpha = self.alphas[level]
        return torch.ones_like(alpha) if self.predicts_v else noise_weight(alpha)
