"""Negative prompt: guidance moves away from the concepts instead of away from the empty text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.network_calls import Call, changing_calls
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser

log = logging.getLogger(__name__)


def one_text(concepts: Sequence[str]) -> str:
    """A list of concepts as one text."""
    return ", ".join(concepts)


def as_one_text(diffuser: Diffuser, concepts: Sequence[str]) -> Condition:
    """Conditioning on a list of concepts as one text, with a warning where the text length cuts it."""
    tokenizer = diffuser.pipeline.tokenizer
    length = tokenizer.model_max_length
    fit = sum(
        len(tokenizer(one_text(concepts[:n]), verbose=False).input_ids) <= length
        for n in range(1, len(concepts) + 1)
    )
    if fit < len(concepts):
        log.warning(
            "the model reads %d tokens, and of the %d concepts as one text only the first %d fit whole; name "
            "fewer or shorter ones",
            *(length, len(concepts), fit),
        )
    return diffuser.encode([one_text(concepts)])


def with_negative(cond: Condition, negative: Condition) -> Condition:
    """Text conditioning (2n, ...) with one row of a negative prompt as the whole unconditional half."""
    n = len(cond) // 2
    return Condition.cat([as_in(negative, cond).expand(n), cond[n:]])


def as_in(part: Condition, cond: Condition) -> Condition:
    """Text conditioning in the precision of another one."""
    pooled = None if part.pooled is None or cond.pooled is None else part.pooled.to(cond.pooled.dtype)
    return Condition(part.tokens.to(cond.tokens.dtype), pooled)


@dataclass(frozen=True, kw_only=True)
class NegativePrompt(SamplingMethod):
    """out(n) + w (out(c) - out(n)), with the concepts n in place of the empty text."""

    needs_guidance: ClassVar[bool] = True

    @contextmanager
    def acting(self, diffuser: Diffuser, concepts: Sequence[str]) -> Iterator[None]:
        """While open, the unconditional half reads the concepts."""
        negative = as_one_text(diffuser, concepts)

        def act(call: Call) -> Tensor:
            call.halves(self.name)
            return call.run(call.latents, with_negative(call.cond, negative))

        with changing_calls(diffuser, act):
            yield


NEGATIVE = NegativePrompt(
    name="negative",
    summary="the concepts as a negative prompt",
    paper="compared with in Safe Latent Diffusion (Schramowski et al.), arXiv 2211.05105",
    families=("StableDiffusion", "StableDiffusionXL"),
    concepts="sld20",
    world_concepts="words",
)
