"""CASteer: cross-attention outputs are mirrored away from concepts, see diffusion/activation_steering.py.

Source: Gaintseva et al., 2025 (arXiv 2503.09630), written from its formulas. The published pairs of prompts
name children beside nudity; those here have adults alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from safediffusion.baselines.method import SamplingMethod, reads_world
from safediffusion.baselines.network_calls import Call, changing_calls
from safediffusion.diffusion.activation_steering import (
    Pairs,
    SteeringVectors,
    cross_attention,
    steering_vectors,
)
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.reflection import turned_away
from safediffusion.diffusion.rollout import Sampling
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.world.wordings import PLACES

# fmt: off
ADULTS = (
    "a man", "a woman", "two men", "two women", "two people", "an old man", "an old woman", "men", "women",
    "a group of people", "a human",
)
CONTEXTS = (
    "at home", "in a garden", "on a street", "at the beach", "in a forest", "by a lake", "in a cafe",
    "in an office", "on a stage", "in a studio", "in a gym", "at a market", "on a train", "in a museum",
)
# fmt: on
BATCH = 8  # pairs sampled at a time


def concept_pairs(concepts: Sequence[str], world: bool) -> dict[str, list[tuple[str, str]]]:
    """By concept, prompts with and without it; all people are adults.

    Args:
        concepts: names or phrases; for World, captions without their place.
        world: whether the model reads World's captions alone.

    Raises:
        UserError: a concept mentions minors. Pictures of the concepts are sampled, so the rule is stricter
            here than for a concept that is only to be avoided.
    """
    pairs = {concept: list(_pairs_of(concept, world)) for concept in concepts}
    for concept, found in pairs.items():
        if any(sexualises_minors(text, ("sexual",)) for pair in found for text in pair):
            raise UserError(
                f"casteer samples each concept once, and {concept!r} mentions minors; such prompts are never "
                "sampled. Name a list without it, such as casteer:i2p11"
            )
    return pairs


def _pairs_of(concept: str, world: bool) -> Iterator[tuple[str, str]]:
    if world:
        yield from ((f"{concept} {place}", f"a person {place}") for place in PLACES.values())
        return
    for who in ADULTS:
        yield from ((f"{who} {where}, {concept}", f"{who} {where}") for where in CONTEXTS)


class Steering:
    """Steering vectors for the samplers that come, and the hooks that use them.

    Args:
        diffuser: the model.
        pairs: of prompts.
        strength: beta.
    """

    def __init__(self, diffuser: Diffuser, pairs: Pairs, strength: float) -> None:
        self.diffuser, self.pairs, self.strength = diffuser, pairs, strength
        self.learnt: dict[tuple[int, float], SteeringVectors] = {}
        self.now: dict[str, Tensor] = {}  # of the step, by layer: (concepts, d)

    def act(self, call: Call) -> Tensor:
        """The network's output with steered features."""
        vectors = self.vectors(call.scheduler.num_inference_steps, call.guidance)
        away = [abs(t - call.timestep) for t in vectors.sampler.timesteps]
        step = away.index(min(away))
        self.now = {name: v[step].to(call.latents.device) for name, v in vectors.layers.items()}
        try:
            return call.run(call.latents, call.cond)
        finally:
            self.now = {}

    def vectors(self, steps: int, guidance: float) -> SteeringVectors:
        """Vectors for a number of steps and a guidance, learnt at the first call that has them."""
        key = (steps, guidance)
        if key not in self.learnt:
            schedule = self.diffuser.process.schedule(steps)
            sampling = Sampling(guidance, BATCH)
            self.learnt[key] = steering_vectors(self.diffuser, schedule, self.pairs, sampling, seed=0)
        return self.learnt[key]

    def hook(self, name: str) -> Callable[[Any, Any, Tensor], Tensor | None]:
        """A hook after a cross-attention layer."""

        def steer(module: Any, inputs: Any, output: Tensor) -> Tensor | None:
            return turned_away(output, self.now[name].unbind(), self.strength) if self.now else None

        return steer


@dataclass(frozen=True, kw_only=True)
class CASteer(SamplingMethod):
    """CASteer with vectors of the model's own features.

    They are learnt with this package's DDIM of the sampler's number of steps and guidance. Another scheduler
    takes those of the nearest timestep.

    Attributes:
        strength: beta; 2 mirrors a concept's part of the features.
    """

    strength: float = 2.0

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise UserError(
                f"casteer's strength is {self.strength:g}: steering has one sign, and below 0 it would draw "
                "what it is to avoid; set 0 or more"
            )

    @contextmanager
    def acting(self, diffuser: Diffuser, concepts: Sequence[str]) -> Iterator[None]:
        """While open, features are steered in both halves of the guidance."""
        steering = Steering(diffuser, concept_pairs(concepts, reads_world(diffuser)), self.strength)
        with ExitStack() as stack:
            for name, layer in cross_attention(diffuser.network).items():
                stack.callback(layer.register_forward_hook(steering.hook(name)).remove)
            stack.enter_context(changing_calls(diffuser, steering.act))
            yield


CASTEER = CASteer(
    name="casteer",
    summary="cross-attention outputs mirrored away from the concepts",
    paper="CASteer (Gaintseva et al.), arXiv 2503.09630",
    families=("StableDiffusion", "StableDiffusionXL"),
    concepts="nudity",
)
