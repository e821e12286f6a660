"""A linear map of text states, made of pairs: what Safe-CLIP's training wants, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from safediffusion.baselines.closed_form import all_rows, edit_map, fold, key_and_value_layers, text_states
from safediffusion.baselines.concepts import Concepts, read_concepts
from safediffusion.baselines.method import WeightMethod
from safediffusion.baselines.uce import BOTH, Guide
from safediffusion.config.inputs import Section
from safediffusion.config.setting_types import Positive
from safediffusion.diffusion.diffuser import Diffuser


class TextMapOptions(Section):
    """What is kept, and how strongly."""

    guide: Guide = Field(default="", description="text that a concept without a twin becomes")
    preserve: str | None = Field(
        default=None,
        description="list of captions that are kept, as --concepts takes it; null: everyday, or benign where "
        "the concepts are World's",
    )
    preserve_scale: Positive = Field(default=1.0, description="κ, weight of the kept captions")
    ridge: Positive = Field(default=0.5, description="λ, how near the map stays to none")


@dataclass(frozen=True, kw_only=True)
class TextMap(WeightMethod):
    """One map of all text states before all cross attention, c' = A c, made of the states of unsafe texts u,
    their safe twins s and benign captions b:

    A = ( Σ s uᵀ + κ Σ b bᵀ + λ I ) ( Σ u uᵀ + κ Σ b bᵀ + λ I )⁻¹

    It takes the unsafe to its twin, keeps the benign and stays near I. Folded into keys and values, W' = W A.
    """

    options: TextMapOptions

    def apply(self, diffuser: Diffuser, concepts: Concepts) -> Mapping[str, Any]:
        """Folds the map into the network."""
        o, layers = self.options, key_and_value_layers(diffuser)
        kept = read_concepts(o.preserve or ("benign" if concepts.world else "everyday"))
        twins = concepts.twins or [o.guide] * len(concepts.phrases)
        unsafe, safe, benign = (
            all_rows(text_states(diffuser, texts)) for texts in (concepts.phrases, twins, kept.phrases)
        )
        fold(layers, edit_map(unsafe, safe, benign, o.ridge, preserve=o.preserve_scale))
        return {"layers": len(layers), "preserved": kept.name, "preserved_texts": len(kept.phrases)}


TEXT_MAP = TextMap(
    name="text-map",
    summary="maps unsafe texts to their safe twins and keeps benign ones, in closed form",
    paper="this package; aims of Safe-CLIP, ECCV 2024, arXiv 2311.16254",
    families=BOTH,
    concepts="i2p11",
    world_concepts="pairs",
    options=TextMapOptions(),
)
