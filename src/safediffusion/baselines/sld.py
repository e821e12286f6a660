"""Safe latent diffusion: guidance away from a safety concept where the prompt moves towards it.

Source: Schramowski et al., 2023 (arXiv 2211.05105), equations 3 to 8 and the four settings of its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.negative import as_in, as_one_text
from safediffusion.baselines.network_calls import Call, changing_calls
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser

OF_STEPS = 50  # the published number of steps, of which `warmup` are without safety guidance


@dataclass(frozen=True)
class Strength:
    """How strongly the safety guidance acts.

    Attributes:
        warmup: delta, steps of 50 at the start that stay unchanged.
        scale: s_S, of the distance between prompt and concept.
        threshold: lambda; above it an element stays unchanged.
        momentum: s_m, share of the momentum that is added.
        decay: beta_m, of the momentum.
    """

    warmup: int
    scale: float
    threshold: float
    momentum: float
    decay: float


STRENGTHS = {
    "weak": Strength(15, 20, 0.0, 0.0, 0.0),
    "medium": Strength(10, 1000, 0.01, 0.3, 0.4),
    "strong": Strength(7, 2000, 0.025, 0.5, 0.7),
    "max": Strength(0, 5000, 1.0, 0.5, 0.7),
}


def safety_guidance(
    outputs: Sequence[Tensor], momentum: Tensor, strength: Strength, to_noise: float
) -> tuple[Tensor, Tensor]:
    """Safety guidance gamma and the next momentum (equations 4 to 8), each (n, c, h, w).

    Args:
        outputs: of the network for the empty text, the prompt and the concept, (n, c, h, w) each.
        momentum: nu of the steps before, (n, c, h, w).
        strength: the setting.
        to_noise: what turns a difference of outputs into one of predicted noise, for which the thresholds are
            stated; see `noise_factor`.
    """
    free, prompt, concept = outputs
    distance = to_noise * (prompt - concept)
    mu = torch.where(distance >= strength.threshold, 0, (strength.scale * distance.abs()).clamp(max=1))
    gamma = mu * (concept - free) + strength.momentum * momentum
    return gamma, strength.decay * momentum + (1 - strength.decay) * gamma


def noise_factor(scheduler: DDIMScheduler, timestep: float) -> float:
    """Predicted noise per unit of the network's output, at fixed latents: 1 where it predicts the noise.

    It follows from eps = sqrt(a) v + sqrt(1 - a) x, and from eps = (x - sqrt(a) x0) / sqrt(1 - a).
    """
    alpha = scheduler.alphas_cumprod[round(timestep)].item()
    factors = {"epsilon": 1.0, "v_prediction": alpha**0.5, "sample": -((alpha / (1 - alpha)) ** 0.5)}
    return factors[scheduler.config["prediction_type"]]


@dataclass(frozen=True, kw_only=True)
class SafeLatentDiffusion(SamplingMethod):
    """SLD in one of its settings.

    The thresholds act on predicted noise. The published code applies them to the network's output as it is,
    which differs where a network predicts v.

    Attributes:
        strength: the setting.
    """

    strength: Strength = STRENGTHS["medium"]
    needs_guidance: ClassVar[bool] = True

    @contextmanager
    def acting(self, diffuser: Diffuser, concepts: Sequence[str]) -> Iterator[None]:
        """While open, the conditional half of the output has the safety guidance taken off."""
        safety = as_one_text(diffuser, concepts)
        momentum = torch.zeros(())

        def act(call: Call) -> Tensor:
            nonlocal momentum
            n = len(call.halves(self.name)[0])
            cond = Condition.cat([call.cond, as_in(safety, call.cond).expand(n)])
            free, prompt, concept = call.run(torch.cat([call.latents, call.latents[n:]]), cond).chunk(3)
            before = momentum if call.index else torch.zeros_like(free)
            factor = noise_factor(diffuser.scheduler, call.timestep)
            gamma, momentum = safety_guidance((free, prompt, concept), before, self.strength, factor)
            warm = call.index >= round(self.strength.warmup * len(call.scheduler.timesteps) / OF_STEPS)
            return torch.cat([free, prompt - gamma if warm else prompt])

        with changing_calls(diffuser, act):
            yield


SLD = tuple(
    SafeLatentDiffusion(
        name=f"sld-{name}",
        summary=f"safe latent diffusion, {name}: guidance away from the concepts where a prompt nears them",
        paper="Safe Latent Diffusion (Schramowski et al.), arXiv 2211.05105",
        families=("StableDiffusion", "StableDiffusionXL"),
        concepts="sld20",
        world_concepts="words",
        strength=strength,
    )
    for name, strength in STRENGTHS.items()
)
