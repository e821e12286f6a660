"""UCE, unified concept editing (Gandikota et al., WACV 2024), in the two forms that were published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from safediffusion.baselines.closed_form import (
    all_rows,
    edit_map,
    fold,
    key_and_value_layers,
    last_tokens,
    text_states,
)
from safediffusion.baselines.concepts import Concepts, read_concepts
from safediffusion.baselines.method import WeightMethod
from safediffusion.config.inputs import Section
from safediffusion.config.setting_types import Positive
from safediffusion.diffusion.diffuser import Diffuser

Guide = Annotated[str, Field(max_length=1000)]  # may be empty


class UceOptions(Section):
    """Where a concept is moved to, how strongly, and what is kept."""

    guide: Guide = Field(default="", description="text that a concept without a twin becomes")
    preserve: str | None = Field(
        default=None,
        description="list of what is kept, as --concepts takes it; null: nothing more than usual",
    )
    ridge: Positive = Field(default=0.5, description="λ, how strongly weights stay as they are")
    erase_scale: Positive = Field(default=1.0, description="η, weight of the moved states")
    preserve_scale: Positive | None = Field(
        default=None,
        description="κ, weight of the kept states; null: 1, for uce-2023 max(0.1, 1 / kept texts)",
    )


@dataclass(frozen=True, kw_only=True)
class Uce(WeightMethod):
    """Every key and value projection W of cross attention becomes

    W' = ( λ W + η Σ (W g) cᵀ + κ Σ (W p) pᵀ ) ( λ I + η Σ c cᵀ + κ Σ p pᵀ )⁻¹

    where c is the state of a concept's last word, g that of its guide, p that of a kept text; nothing is kept
    unless told otherwise. In an empty guide the first special token is the last word.
    """

    options: UceOptions

    def apply(self, diffuser: Diffuser, concepts: Concepts) -> Mapping[str, Any]:
        """Folds the edit into the network; the card names the last word of each concept."""
        layers = key_and_value_layers(diffuser)
        fold(layers, self.change(diffuser, concepts))
        return {"layers": len(layers), "last_words": last_words(diffuser, concepts.phrases)}

    def change(self, diffuser: Diffuser, concepts: Concepts) -> Tensor:
        """M (d, d) float64 by which every weight is multiplied."""
        kept = read_concepts(self.options.preserve).phrases if self.options.preserve else ()
        old, new = (last_states(diffuser, texts) for texts in (concepts.phrases, self.guides(concepts)))
        return self.solved(old, new, last_states(diffuser, kept) if kept else old[:0], 1.0)

    def guides(self, concepts: Concepts) -> Sequence[str]:
        """What each concept becomes."""
        return concepts.twins or [self.options.guide] * len(concepts.phrases)

    def solved(self, old: Tensor, new: Tensor, kept: Tensor, usual: float) -> Tensor:
        """The map for these rows; `usual` is the weight of kept ones where none was set."""
        o = self.options
        return edit_map(old, new, kept, o.ridge, o.erase_scale, o.preserve_scale or usual)


class Uce2023(Uce):
    """The formula of `uce` with more rows: of a concept and its guide all states from the last word to the
    end, aligned at the last word. All states of the kept texts count, at least those of the empty one, with
    κ = max(0.1, 1 / number of kept texts).
    """

    def change(self, diffuser: Diffuser, concepts: Concepts) -> Tensor:
        """M (d, d) float64 by which every weight is multiplied."""
        kept = read_concepts(self.options.preserve).phrases if self.options.preserve else ("",)
        guides = self.guides(concepts)
        ends = zip(*(last_tokens(diffuser, texts) for texts in (concepts.phrases, guides)), strict=True)
        states = zip(text_states(diffuser, concepts.phrases), text_states(diffuser, guides), strict=True)
        pairs = [aligned(c, g, a, b) for (c, g), (a, b) in zip(states, ends, strict=True)]
        old, new = (torch.cat(rows) for rows in zip(*pairs, strict=True))
        return self.solved(old, new, all_rows(text_states(diffuser, kept)), max(0.1, 1 / len(kept)))


def aligned(old: Tensor, new: Tensor, a: int, b: int) -> tuple[Tensor, Tensor]:
    """As many rows of two texts' states (length, d) as both have from positions a and b on."""
    rows = len(old) - max(a, b)
    return old[a : a + rows], new[b : b + rows]


def last_states(diffuser: Diffuser, texts: Sequence[str]) -> Tensor:
    """The state of each text's last word, (n, d) float64."""
    return text_states(diffuser, texts)[range(len(texts)), last_tokens(diffuser, texts)]


def last_words(diffuser: Diffuser, texts: Sequence[str]) -> list[str]:
    """What the last tokens stand for: of a longer phrase it may not be the word that names the concept."""
    tokenizer = diffuser.pipeline.tokenizer
    ends = zip(texts, last_tokens(diffuser, texts), strict=True)
    return [tokenizer.decode(tokenizer(text).input_ids[end]) for text, end in ends]


PAPER = "Gandikota et al., WACV 2024, arXiv 2308.14761"
BOTH = ("StableDiffusion", "StableDiffusionXL")
UCE = Uce(
    name="uce",
    summary="moves the last word of a concept to the empty text, in closed form",
    paper=PAPER,
    families=BOTH,
    options=UceOptions(),
)
UCE_2023 = Uce2023(
    name="uce-2023",
    summary="moves a concept's states from its last word on to those of a blank, in closed form",
    paper=PAPER,
    families=BOTH,
    options=UceOptions(guide=" "),
)
