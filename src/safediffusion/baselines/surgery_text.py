"""Semantic Surgery on text states: the concepts that a prompt holds are subtracted from it.

Source: Semantic Surgery (Xiong et al., 2025, arXiv 2510.22851), without the detector loop of the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.negative import one_text
from safediffusion.baselines.text_states import changing_text, text_lengths
from safediffusion.diffusion.diffuser import Diffuser


def presence(states: Tensor, directions: Tensor, beta: float, gamma: float) -> Tensor:
    """How present each concept is in a text, alpha (m,) in [0, 1].

    Args:
        states: c of the text, (length, d).
        directions: c(concept) - c(""), (m, length, d).
        beta, gamma: offset and width of the gate; the published ones belong to CLIP ViT-L/14.
    """
    cosine = F.cosine_similarity(directions, states[None], dim=-1).mean(-1)
    return ((cosine + beta) / gamma).sigmoid()


@dataclass(frozen=True, kw_only=True)
class SurgeryText(SamplingMethod):
    """c - max alpha_on (c(on) - c("")), where `on` joins the concepts with alpha of at least 1/2.

    Attributes:
        beta, gamma: of the gate, see `presence`.
    """

    beta: float = -0.06
    gamma: float = 0.02

    @contextmanager
    def acting(self, diffuser: Diffuser, concepts: Sequence[str]) -> Iterator[None]:
        """While open, texts lose the concepts they hold."""
        empty, *found = diffuser.encode(["", *concepts]).tokens
        directions = torch.stack(found) - empty

        def without(states: Tensor) -> Tensor:
            alpha = presence(states.float(), directions, self.beta, self.gamma)
            on = [i for i, value in enumerate(alpha.tolist()) if value >= 0.5]
            if not on:
                return states
            joined = diffuser.encode_text([one_text([concepts[i] for i in on])]).tokens[0]
            return states - alpha.max() * (joined - empty)

        def change(ids: Tensor, output: Any) -> Tensor:
            rows = zip(output.last_hidden_state, text_lengths(diffuser, ids), strict=True)
            return torch.stack([without(states) if length else states for states, length in rows])

        with changing_text(diffuser, change):
            yield


SURGERY_TEXT = SurgeryText(
    name="surgery-text",
    summary="concepts that a prompt holds are subtracted from its text states",
    paper="Semantic Surgery (Xiong et al.), arXiv 2510.22851, its text part",
    families=("StableDiffusion",),
    concepts="i2p11",
    world_concepts="words",
)
