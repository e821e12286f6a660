"""SAFREE: tokens near the concepts are projected away from them in the first steps of sampling.

As the release samples: projection of the text, its own choice of how many steps, and the concepts as a
negative prompt. The paper's filter of skip features is switched off in the release, and absent here.

Source: Yoon et al., 2025 (arXiv 2410.12761), written from its formulas.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.negative import as_one_text, with_negative
from safediffusion.baselines.network_calls import Call, changing_calls
from safediffusion.baselines.text_states import changing_text, text_lengths
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser

KEPT = 256  # texts; more than are sampled at a time
OF_STEPS = 50  # the published number of steps
MASK = 0  # the token that stands for a left-out one in the release; CLIP's "!"


def span(rows: Tensor) -> Tensor:
    """Projection on the span of some vectors, (d, d) float64 on the CPU, from (m, d).

    Phrases are nearly dependent, and float32 would turn their difference into noise.
    """
    rows = rows.cpu().double()
    return torch.linalg.pinv(rows) @ rows


def is_trigger(left_out: Tensor, away: Tensor, alpha: float) -> Tensor:
    """Which tokens bring a prompt near the concepts: without one, it is further from them than on average.

    Args:
        left_out: pooled states of the prompt without each of its tokens, (n, d), n at least 2.
        away: I - P, the projection away from the concepts, (d, d) float64 on the CPU.
        alpha: how much further, relative to the mean of the other tokens.

    Returns:
        (n,) bool.
    """
    distance = (left_out.cpu().double() @ away).norm(dim=-1)
    others = (distance.sum() - distance) / (len(distance) - 1)
    return distance >= (1 + alpha) * others


def steps_changed(change: float) -> int:
    """In how many of 50 steps, after the first, the changed states are used, 0 to 10.

    Args:
        change: 1 minus the mean cosine of projected and original states.
    """
    return round(10 / (1 + math.exp(-2 * 2.5 * (10 * change - 5.333))))


def is_early(index: int, count: int, steps: int) -> bool:
    """Whether a sampler's call `index` of `count` uses the changed states: the first and `steps` of 50."""
    return OF_STEPS * index <= steps * count


class ChangedTexts:
    """Changed states with the original ones and the steps that they are for, found by their content.

    A sampler hands on what it got from the text encoder, and nothing else.
    """

    def __init__(self) -> None:
        self.known: OrderedDict[bytes, tuple[Tensor, int]] = OrderedDict()

    def add(self, changed: Tensor, original: Tensor, steps: int) -> None:
        """Keep a text; the oldest one is given up beyond KEPT."""
        self.known[digest(changed)] = (original, steps)
        self.known.move_to_end(digest(changed))
        if len(self.known) > KEPT:
            self.known.popitem(last=False)

    def find(self, states: Tensor) -> tuple[Tensor, int] | None:
        """The original states (length, d) and the steps of changed ones; None for others."""
        return self.known.get(digest(states))


def digest(states: Tensor) -> bytes:
    """SHA-256 of states in float32."""
    return hashlib.sha256(states.detach().float().cpu().contiguous().numpy().tobytes()).digest()


@dataclass(frozen=True, kw_only=True)
class Safree(SamplingMethod):
    """SAFREE as released.

    Attributes:
        alpha: of `is_trigger`.
    """

    alpha: float = 0.01
    needs_guidance: ClassVar[bool] = True

    @contextmanager
    def acting(self, diffuser: Diffuser, concepts: Sequence[str]) -> Iterator[None]:
        """While open, texts are projected, and the concepts are the negative prompt."""
        negative, texts = as_one_text(diffuser, concepts), ChangedTexts()
        with diffuser.awake():
            named = pooled(diffuser, diffuser.pipeline.tokenizer(list(concepts), **PADDED).input_ids)
        away = torch.eye(named.shape[-1], dtype=torch.float64) - span(named)

        def change(ids: Tensor, output: Any) -> Tensor:
            rows = [output.last_hidden_state[i] for i in range(len(ids))]
            for i, length in enumerate(text_lengths(diffuser, ids)):
                if length > 1:
                    rows[i] = self._projected(diffuser, ids[i], rows[i], length, away, texts)
            return torch.stack(rows)

        found: list[tuple[Tensor, int] | None] = []

        def act(call: Call) -> Tensor:
            nonlocal found
            n = len(call.halves(self.name)[1])
            if call.index == 0:
                found = [texts.find(states) for states in call.cond.tokens[n:]]
            tokens = call.cond.tokens.clone()
            for row, text in enumerate(found, n):
                if text is not None and not is_early(call.index, len(call.scheduler.timesteps), text[1]):
                    tokens[row] = text[0]
            return call.run(call.latents, with_negative(Condition(tokens), negative))

        with changing_text(diffuser, change), changing_calls(diffuser, act):
            yield

    def _projected(
        self, diffuser: Diffuser, ids: Tensor, states: Tensor, length: int, away: Tensor, texts: ChangedTexts
    ) -> Tensor:
        """States of a text (L, d) with its triggers projected; remembers for how many steps."""
        real = slice(1, length + 1)
        left_out = ids.repeat(length, 1)
        left_out[range(length), range(1, length + 1)] = MASK
        left_out = pooled(diffuser, left_out)
        original = states[real].cpu().double()
        projected = original @ span(left_out) @ away
        chosen = is_trigger(left_out, away, self.alpha)
        if not chosen.any():
            return states
        changed = states.clone()
        changed[real] = torch.where(chosen[:, None].to(states.device), projected.to(states), states[real])
        change = 1 - F.cosine_similarity(projected, original, dim=-1).mean().item()
        texts.add(changed, states, steps_changed(change))
        return changed


PADDED: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}


def pooled(diffuser: Diffuser, ids: Tensor) -> Tensor:
    """The encoder's pooled states, before any projection, (n, d), of token ids (n, length)."""
    return diffuser.pipeline.text_encoder(ids.to(diffuser.device)).pooler_output


SAFREE = Safree(
    name="safree",
    summary="tokens near the concepts are projected away from them, and the concepts are a negative prompt",
    paper="SAFREE (Yoon et al.), arXiv 2410.12761",
    families=("StableDiffusion",),
    concepts="i2p11",
    world_concepts="words",
)
