"""Activation steering: while the model samples, cross-attention outputs are turned away from concepts.

The vectors come from pairs of prompts, with and without a concept, that the model itself samples. Nothing is
trained. The mathematics is in reflection.py.

Source: CASteer (Gaintseva et al., 2025, arXiv 2503.09630), written from its formulas.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from safediffusion.diffusion import noise
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.noise_process import Schedule
from safediffusion.diffusion.reflection import turned_away, unit_difference
from safediffusion.diffusion.rollout import Sampling, any_rows, solve
from safediffusion.errors import UserError

Pairs = Mapping[str, Sequence[tuple[str, str]]]  # by concept: (unsafe prompt, safe prompt)


@dataclass(frozen=True)
class Sampler:
    """What steering vectors depend on besides the model and the prompts.

    Attributes:
        steps: denoising steps.
        guidance: scale of classifier-free guidance.
        solver: of the steps.
        scheduler: class and settings, as JSON.
        timesteps: that the network is given, in their order.
    """

    steps: int
    guidance: float
    solver: str
    scheduler: str
    timesteps: tuple[float, ...]

    @classmethod
    def of(cls, diffuser: Diffuser, schedule: Schedule, sampling: Sampling) -> Sampler:
        """The sampler of a model."""
        scheduler = diffuser.scheduler
        settings = {k: v for k, v in scheduler.config.items() if not k.startswith("_")}
        return cls(
            steps=len(schedule),
            guidance=sampling.guidance,
            solver=sampling.solver,
            scheduler=type(scheduler).__name__ + json.dumps(settings, sort_keys=True, default=str),
            timesteps=tuple(schedule.timesteps.tolist()),
        )


@dataclass(frozen=True)
class SteeringVectors:
    """Unit vectors of concepts for every cross-attention layer and denoising step.

    Attributes:
        sampler: that they were computed with; they fit no other.
        concepts: names, in the order in which features are turned away from them.
        layers: by name of the layer, (steps, concepts, d) float32.
    """

    sampler: Sampler
    concepts: tuple[str, ...]
    layers: dict[str, Tensor]

    def refuse_other(self, sampler: Sampler) -> None:
        """Refuse a sampler that the vectors were not computed with.

        Raises:
            UserError: what differs.
        """
        theirs = asdict(sampler)
        if different := [name for name, own in asdict(self.sampler).items() if own != theirs[name]]:
            raise UserError(
                f"these steering vectors are for another sampler, with other {', '.join(different)}; compute "
                "them again with the sampler that they are to steer"
            )


def cross_attention(network: nn.Module) -> dict[str, Attention]:
    """The modules by which the image reads the prompt, by name.

    Raises:
        UserError: the network has none.
    """
    found = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    }
    if not found:
        raise UserError(
            f"activation steering changes cross-attention, and {type(network).__name__} has none: it reads "
            "prompt and image in one sequence. Set rollout.steered=0, or use a model with a UNet (Stable "
            "Diffusion 1.x, 2.x, XL) or PixArt"
        )
    return found


class CurrentStep:
    """The denoising step of the network's call, by the timestep that it is given.

    Args:
        network: that is called.
        timesteps: of all steps.
    """

    def __init__(self, network: nn.Module, timesteps: Sequence[float]) -> None:
        self.signature = inspect.signature(type(network).forward)
        self.places = {t: i for i, t in enumerate(timesteps)}
        self.index = 0

    def __call__(self, network: nn.Module, args: Any, kwargs: Any) -> None:
        """Note the step; a hook before the network's forward pass."""
        given = self.signature.bind(network, *args, **kwargs).arguments["timestep"]
        t = torch.as_tensor(given).flatten()[0].item()
        if t not in self.places:
            raise UserError(
                f"the network was called at timestep {t:g}, for which there are no steering vectors; compute "
                "them with this sampler"
            )
        self.index = self.places[t]


# Receives a layer's name, the denoising step and the layer's output (n, tokens, d); returns what replaces
# the output, or None to leave it.
Watcher = Callable[[str, int, Tensor], Tensor | None]


@contextmanager
def watching(diffuser: Diffuser, timesteps: Sequence[float], watcher: Watcher) -> Iterator[None]:
    """Inside, the watcher sees every cross-attention output, after its projection and before the residual.

    Calls have the rows they are given and run uncompiled: a compiled network does not notice new hooks.
    """
    network = diffuser.network
    step = CurrentStep(network, timesteps)

    def hook_of(name: str) -> Callable[..., Tensor | None]:
        return lambda module, inputs, output: watcher(name, step.index, output)

    with any_rows(diffuser), ExitStack() as hooks:
        handles = [network.register_forward_pre_hook(step, with_kwargs=True)]
        handles += [m.register_forward_hook(hook_of(name)) for name, m in cross_attention(network).items()]
        for handle in handles:
            hooks.callback(handle.remove)
        yield


@torch.no_grad()
def steering_vectors(
    diffuser: Diffuser, schedule: Schedule, pairs: Pairs, sampling: Sampling, seed: int
) -> SteeringVectors:
    """Vectors from the model's own features: of each concept, unsafe prompts minus their safe twins.

    Both prompts of a pair are sampled from the same noise with guidance. The features are the outputs of
    cross-attention in the conditional half, averaged over image tokens and pairs in float32. The latents are
    neither decoded nor kept.

    Args:
        diffuser: the model.
        schedule: its denoising steps.
        pairs: prompts with and without each concept.
        sampling: how to sample; the vectors fit this way only.
        seed: of the noise.
    """
    sampler = Sampler.of(diffuser, schedule, sampling)
    sums = []
    for number, found in enumerate(pairs.values()):
        keys = [(noise.STEERING, seed, number, pair) for pair in range(len(found))]
        start = noise.normal(keys, diffuser.latent_shape)
        sums.append(
            [
                _summed_features(diffuser, schedule, texts, start, sampling)
                for texts in zip(*found, strict=True)
            ]
        )
    layers = {
        name: torch.stack([unit_difference(unsafe[name], safe[name]) for unsafe, safe in sums], 1)
        for name in cross_attention(diffuser.network)
    }
    return SteeringVectors(sampler, tuple(pairs), layers)


def _summed_features(
    diffuser: Diffuser, schedule: Schedule, texts: Sequence[str], start: Tensor, sampling: Sampling
) -> dict[str, Tensor]:
    """Mean features over image tokens, summed over prompts, by layer, (steps, d) float32."""
    twice = sampling.guidance > 1 and not diffuser.distilled
    sums: dict[str, list[Tensor | float]] = {
        name: [0.0] * len(schedule) for name in cross_attention(diffuser.network)
    }

    def add(layer: str, step: int, output: Tensor) -> None:
        conditional = output.chunk(2)[1] if twice else output
        sums[layer][step] += conditional.float().mean(1).sum(0)

    with diffuser.awake():
        cond = Condition.cat([diffuser.encode([text]) for text in texts]).to(diffuser.device)
    with watching(diffuser, schedule.timesteps.tolist(), add):
        solve(diffuser, schedule, cond, start, sampling)
    return {name: torch.stack([torch.as_tensor(s) for s in steps]) for name, steps in sums.items()}


@dataclass(frozen=True)
class ActivationSteering:
    """Steering vectors and how strongly they act.

    Attributes:
        vectors: of the model.
        strength: 0 changes nothing, 1 removes a concept's part of the features, 2 mirrors it.
    """

    vectors: SteeringVectors
    strength: float

    @contextmanager
    def acting(self, diffuser: Diffuser, sampler: Sampler) -> Iterator[None]:
        """Inside, the model samples with steered features, in both halves of the guidance.

        Raises:
            UserError: the vectors are for another sampler or another network.
        """
        layers = self.vectors.layers
        self.vectors.refuse_other(sampler)
        if layers.keys() != cross_attention(diffuser.network).keys():
            raise UserError("these steering vectors are for another network; compute them with this model")
        if self.strength == 0:
            yield
            return

        def steer(layer: str, step: int, output: Tensor) -> Tensor:
            return turned_away(output, layers[layer][step].to(output.device).unbind(), self.strength)

        with watching(diffuser, sampler.timesteps, steer):
            yield
