"""DDIM as a stochastic process with a density (Song et al., 2021). Pure maths in float32.

The network may run in half precision; what it predicted is cast up before it comes here.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from safediffusion.errors import UserError

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class Schedule:
    """The noise levels a sampler visits.

    Attributes:
        timesteps: what the network is told, (T,) int64, descending.
        alpha_t: cumulative alpha at each timestep, (T,) float32.
        alpha_s: cumulative alpha at the next, less noisy step, (T,) float32.
        prediction: what the network predicts.
    """

    timesteps: Tensor
    alpha_t: Tensor
    alpha_s: Tensor
    prediction: Prediction

    def __len__(self) -> int:
        return len(self.timesteps)

    def sigma(self, eta: float) -> Tensor:
        """Deviation of every step, (T,) float32."""
        return ddim_sigma(self.alpha_t, self.alpha_s, eta)


def make_schedule(scheduler: DDIMScheduler, steps: int, device: torch.device | str = "cpu") -> Schedule:
    """The schedule that `DDIMScheduler.set_timesteps(steps)` walks through."""
    available = scheduler.config["num_train_timesteps"]
    if steps > available:
        raise UserError(
            f"{steps} sampling steps are more than the {available} this model was trained with; "
            f"set rollout.steps (or evaluate.steps) to at most {available}."
        )
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    previous = timesteps - available // steps
    alphas = scheduler.alphas_cumprod.float()
    alpha_s = torch.where(previous >= 0, alphas[previous.clamp(min=0)], scheduler.final_alpha_cumprod.float())
    return Schedule(
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
    return alpha_s.sqrt() * x0 + (1 - alpha_s - sigma**2).sqrt() * eps, sigma


def log_prob(x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Mean over elements of log N(x; mu, sigma), (n,).

    A mean, not a sum: a clip range of 1e-4 is stated for it.
    """
    require_float32(x, mu)
    square = ((x - mu) / sigma).square().flatten(1).mean(1)
    return -0.5 * square - sigma.reshape(-1).log() - 0.5 * math.log(2 * math.pi)


def gaussian_kl(mu: Tensor, mu_ref: Tensor, sigma: Tensor) -> Tensor:
    """KL between two Gaussians of the same deviation, mean over elements, (n,)."""
    require_float32(mu, mu_ref)
    return ((mu - mu_ref) / sigma).square().flatten(1).mean(1) / 2


def add_noise(x0: Tensor, noise: Tensor, alpha_t: Tensor) -> Tensor:
    """x_t of the forward process, (n, c, h, w); alpha_t broadcastable."""
    require_float32(x0, noise)
    return alpha_t.sqrt() * x0 + (1 - alpha_t).sqrt() * noise


def require_float32(*tensors: Tensor) -> None:
    """Refuse half precision: rounding a stored latent moves its density by more than a clip range."""
    for tensor in tensors:
        if tensor.dtype in (torch.float16, torch.bfloat16):
            raise TypeError(
                f"scheduler maths needs float32, got {tensor.dtype}: rounding moves a log-density by more "
                "than the clip range. Cast the network's output up with .float() first."
            )
