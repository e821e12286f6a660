"""RECE (Gong et al., ECCV 2024): UCE, then what still brings the concept back is found and edited too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from safediffusion.baselines.closed_form import all_rows, edit_map, fold, key_and_value_layers, text_states
from safediffusion.baselines.concepts import Concepts
from safediffusion.baselines.method import WeightMethod
from safediffusion.baselines.uce import UCE_2023
from safediffusion.config.inputs import Section
from safediffusion.config.setting_types import DenoisingOrZero, Positive
from safediffusion.diffusion.diffuser import Diffuser

BLANK = " "


class ReceOptions(Section):
    """How often, and how strongly, what is left of a concept is edited."""

    epochs: DenoisingOrZero | None = Field(
        default=None, description="rounds after UCE; null: 3 for one concept, 2 for several"
    )
    regularisation: Positive = Field(
        default=0.1, description="λ_r, how small the derived states stay; the release has 0.001 for styles"
    )
    ridge: Positive = Field(default=0.1, description="λ of each edit")
    preserve_scale: Positive = Field(default=0.1, description="weight of the kept blank in each edit")


@dataclass(frozen=True, kw_only=True)
class Rece(WeightMethod):
    """Begins as `uce-2023`. W are the base's key and value projections, V the edited ones; then each epoch

    T  = ( λ_r I + Σ Vᵀ V )⁻¹ ( Σ Vᵀ W ), over all layers
    c' = T c for all states c of every concept: what gives the edited layers what c gave the base's
    V  is edited by UCE's formula with c' -> the blank's states, which are kept once per concept

    The release picks the epoch whose pictures its detector likes best; here their number is fixed.
    """

    options: ReceOptions

    def apply(self, diffuser: Diffuser, concepts: Concepts) -> Mapping[str, Any]:
        """Folds all edits into the network."""
        o, layers = self.options, key_and_value_layers(diffuser)
        count = len(concepts.phrases)
        epochs = (3 if count == 1 else 2) if o.epochs is None else o.epochs
        gram = key_gram(layers)
        states = all_rows(text_states(diffuser, concepts.phrases))
        blank = all_rows(text_states(diffuser, [BLANK])).repeat(count, 1)
        change = UCE_2023.change(diffuser, concepts)
        for _ in range(epochs):
            left = states @ restoring(gram, change, o.regularisation).T
            change = change @ edit_map(left, blank, blank, o.ridge, preserve=o.preserve_scale)
        fold(layers, change)
        return {"layers": len(layers), "epochs": epochs}


@torch.no_grad()
def key_gram(layers: list[nn.Linear]) -> Tensor:
    """Σ Wᵀ W over layers with weights W (out, d), (d, d) float64."""
    weights = (layer.weight.cpu().double() for layer in layers)
    return torch.stack([weight.T @ weight for weight in weights]).sum(0)


def restoring(gram: Tensor, change: Tensor, regularisation: float) -> Tensor:
    """T (d, d), with V = W M for every layer: (λ_r I + Mᵀ G M)⁻¹ Mᵀ G, where G = Σ Wᵀ W.

    Args:
        gram: G, (d, d) float64.
        change: M, (d, d) float64.
        regularisation: λ_r.
    """
    kept = regularisation * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(kept + change.T @ gram @ change, change.T @ gram)


RECE = Rece(
    name="rece",
    summary="uce-2023, then edits what still brings the concept back, in closed form",
    paper="Gong et al., ECCV 2024, arXiv 2407.12383",
    families=("StableDiffusion",),
    options=ReceOptions(),
)
