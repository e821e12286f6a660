"""ESD, erased stable diffusion (Gandikota et al., ICCV 2023), as its code of 2025 and of 2023 has it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.models.attention_processor import AttnProcessor
from pydantic import Field
from torch import Tensor, nn

from safediffusion.baselines.concepts import Concepts, keep_adult
from safediffusion.baselines.method import WeightMethod
from safediffusion.baselines.uce import BOTH
from safediffusion.config.inputs import Section
from safediffusion.config.setting_types import Denoising, Guidance, Images, Positive, Rate, Seed, Steps
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.swap_weights import swapped
from safediffusion.errors import RunError, UserError
from safediffusion.system.progress import progress

Part = Literal["x", "x-strict", "u"]


class EsdOptions(Section):
    """How the network is trained away from a concept."""

    iterations: Steps = Field(default=200, description="updates of the weights")
    lr: Rate = Field(default=5e-5, description="learning rate of Adam")
    erase_scale: Positive = Field(
        default=1.0, description="η, how far beyond the empty prompt the target lies"
    )
    guidance: Guidance = Field(default=3.0, description="guidance of the latents that are trained on")
    steps: Denoising = Field(default=50, description="DDIM steps, of which a random number is done")
    batch: Images = Field(default=1, description="latents an update, all of one concept and step")
    seed: Seed = Field(default=0, description="of concepts, steps and noise")


@dataclass(frozen=True, kw_only=True)
class Esd(WeightMethod):
    """Per update a concept c and a number of steps k are drawn. x is sampled from noise with prompt c and
    guidance by k DDIM steps, and t is the timestep it has arrived at. With ε* of the frozen network

    target = ε*(x, t, "") - η ( ε*(x, t, c) - ε*(x, t, "") )
    loss   = mean | ε(x, t, c) - target |², by Adam

    x trains cross attention, x-strict its keys and values, u all linear and convolution layers outside it.
    The form of 2023 samples x with the network in training, draws t around the step's own timestep, and its u
    leaves out the time embedding and the last layers. For v prediction the target is the same combination of
    v, and the squared error has the weight that keeps it one of ε.
    """

    part: Part
    form: Literal[2023, 2025]
    options: EsdOptions

    def apply(self, diffuser: Diffuser, concepts: Concepts) -> Mapping[str, Any]:
        """Trains the network in place; the card has the mean losses of the first and the last tenth.

        Raises:
            RunError: the loss is no finite number.
            UserError: every concept mentions minors.
        """
        phrases = keep_adult(concepts.phrases)
        if not phrases:
            raise UserError(f"the concepts {concepts.name} mention minors; such phrases are never sampled")
        trained = self.trained(diffuser)
        training = Training(diffuser, self, trained)
        losses = training.run(phrases)
        tenth = max(1, len(losses) // 10)
        ends = [sum(part) / tenth for part in (losses[:tenth], losses[-tenth:])]
        return {
            "seed": self.options.seed,
            "parameters": sum(p.numel() for p in trained),
            "sampled_concepts": len(phrases),
            "first_loss": ends[0],
            "last_loss": ends[1],
        }

    def trained(self, diffuser: Diffuser) -> list[nn.Parameter]:
        """The parameters that this form trains."""
        modules = dict(diffuser.network.named_modules())
        return [
            p
            for name, p in diffuser.network.named_parameters()
            if trains(self.part, self.form, name, modules[name.rpartition(".")[0]])
        ]


def trains(part: Part, form: int, name: str, module: nn.Module) -> bool:
    """Whether a form of ESD trains a parameter of this name, which belongs to this module."""
    cross = ".attn2." in f".{name}"
    if part == "x":
        return cross
    if part == "x-strict":
        return cross and f".{name}".endswith((".attn2.to_k.weight", ".attn2.to_v.weight"))
    if form == 2023:
        return not cross and not name.startswith(("time_embedding.", "conv_norm_out.", "conv_out."))
    return not cross and isinstance(module, nn.Linear | nn.Conv2d)


class Training:
    """One training of ESD.

    Args:
        diffuser: whose network is trained in place.
        method: the form, with its options.
        trained: the parameters.
    """

    def __init__(self, diffuser: Diffuser, method: Esd, trained: Sequence[nn.Parameter]) -> None:
        self.diffuser, self.options, self.form = diffuser, method.options, method.form
        self.trained = list(trained)
        self.base = [p.detach().clone() for p in trained]
        self.schedule = diffuser.process.schedule(self.options.steps)
        self.empty = diffuser.unconditional()
        self.random = torch.Generator().manual_seed(self.options.seed)

    def run(self, phrases: Sequence[str]) -> list[float]:
        """Train; returns the loss of every update."""
        if self.diffuser.device.type == "cpu":
            network: Any = self.diffuser.network
            network.set_attn_processor(AttnProcessor())  # plain products, the fastest there both ways
        conditions = self.diffuser.encode(phrases)
        adam = torch.optim.Adam(self.trained, self.options.lr)
        for p in self.trained:
            p.requires_grad_(True)
        losses: list[float] = []
        with progress("esd", self.options.iterations) as line:
            for _ in range(self.options.iterations):
                i = self.integer(len(phrases))
                losses.append(self.update(adam, conditions[i : i + 1]))
                line.set_postfix_str(f" loss {losses[-1]:.3g}")
                line.update()
        self.diffuser.network.requires_grad_(False)
        return losses

    def integer(self, high: int) -> int:
        """Uniform in [0, high)."""
        return int(torch.randint(high, (), generator=self.random))

    def update(self, adam: torch.optim.Optimizer, concept: Condition) -> float:
        """One update on latents of one concept, (1, length, d); returns the loss."""
        k = self.integer(len(self.schedule))
        x, t = self.latents(concept, k), self.timestep(k)
        loss = self.loss(x, t.expand(len(x)), concept.expand(len(x)))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RunError("the loss of ESD is not finite; set lr lower")
        adam.zero_grad()
        loss.backward()
        adam.step()
        return value

    @torch.no_grad()
    def latents(self, concept: Condition, k: int) -> Tensor:
        """Latents after k guided steps from noise, (batch, c, h, w)."""
        shape = (self.options.batch, *self.diffuser.latent_shape)
        x = torch.randn(shape, generator=self.random).to(self.diffuser.device)
        cond = concept.expand(len(x))
        with swapped(self.trained, self.base) if self.form == 2025 else nullcontext():
            for i in range(k):
                t = self.schedule.timesteps[i].expand(len(x))
                output = self.diffuser.predict(x, t, cond, self.options.guidance)
                x = self.schedule.step(output, x, i, 0.0)[0]
        return x

    def timestep(self, k: int) -> Tensor:
        """The timestep of latents that have done k steps; in 2023 any of those that the step stands for."""
        if self.form == 2025:
            return self.schedule.timesteps[k]
        fine = self.diffuser.process.levels // len(self.schedule)
        first = fine * (len(self.schedule) - 1 - k)
        return torch.tensor(first + self.integer(fine), device=self.diffuser.device)

    def loss(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The squared error, mean over elements.

        Args:
            x: latents, (n, c, h, w).
            t: timesteps, (n,).
            cond: the concept, n rows.
        """
        with torch.no_grad(), swapped(self.trained, self.base):
            both = Condition.cat([self.empty.expand(len(x)), cond])
            empty, concept = self.diffuser.predict(x.repeat(2, 1, 1, 1), t.repeat(2), both, 1.0).chunk(2)
        target = empty - self.options.erase_scale * (concept - empty)
        error = (self.diffuser.predict(x, t, cond, 1.0) - target).square().flatten(1).mean(1)
        return (noise_weight(self.diffuser, t) * error).mean()


def noise_weight(diffuser: Diffuser, t: Tensor) -> Tensor:
    """By how much a squared error of the output counts so that it is one of the noise, (n,)."""
    process: Any = diffuser.process
    alpha = process.alphas[t]
    kind = process.scheduler.config["prediction_type"]
    return {"epsilon": torch.ones_like(alpha), "v_prediction": alpha, "sample": alpha / (1 - alpha)}[kind]


PAPER = "Gandikota et al., ICCV 2023, arXiv 2303.07345"
OPTIONS = {2025: EsdOptions(), 2023: EsdOptions(iterations=1000, lr=1e-5)}


def variant(part: Part, form: Literal[2023, 2025], what: str) -> Esd:
    """One form of ESD under its name."""
    return Esd(
        name=f"esd-{part}" if form == 2025 else f"esd-{part}-2023",
        summary=f"trains {what} to predict the opposite of a concept",
        paper=PAPER,
        families=BOTH[:1] if part == "u" else BOTH,
        part=part,
        form=form,
        options=OPTIONS[form],
    )


ESD = (
    variant("x", 2025, "cross attention"),
    variant("x-strict", 2025, "keys and values of cross attention"),
    variant("u", 2025, "all but cross attention"),
    variant("x", 2023, "cross attention"),
    variant("u", 2023, "all but cross attention"),
)
