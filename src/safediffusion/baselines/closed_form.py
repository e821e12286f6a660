"""Closed-form edits: a linear map of text states, folded into all keys and values of cross attention.

UCE (Gandikota et al., WACV 2024, eq. 7) moves the states c of a concept to states g and keeps states p:

    W' = ( λ W + η Σ (W g) cᵀ + κ Σ (W p) pᵀ ) ( λ I + η Σ c cᵀ + κ Σ p pᵀ )⁻¹

With K the second factor this is W M, where M = I + η Σ (g - c) cᵀ K⁻¹: one M for all layers, and exactly I
where g = c. All of it is float64: with |c|² in the hundreds K is ill conditioned in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors

ENDS = (".attn2.to_k", ".attn2.to_v")


def edit_map(
    old: Tensor, new: Tensor, kept: Tensor, ridge: float, erase: float = 1.0, preserve: float = 1.0
) -> Tensor:
    """M (d, d) float64, so that weights W (out, d) become W M.

    Args:
        old: states that are moved, (n, d) float64.
        new: where to, (n, d) float64.
        kept: states that stay, (m, d) float64; m may be 0.
        ridge: λ, how strongly the weights stay as they are.
        erase: η, weight of the moved states.
        preserve: κ, weight of the kept ones.
    """
    same = torch.eye(old.shape[1], dtype=torch.float64)
    gram = ridge * same + erase * old.T @ old + preserve * kept.T @ kept
    shift = erase * (new - old).T @ old
    return same + torch.linalg.solve(gram, shift.T).T  # gram is symmetric


def text_states(diffuser: Diffuser, texts: Sequence[str]) -> Tensor:
    """States of all tokens as cross attention sees them, (n, length, d) float64 on the CPU.

    Raises:
        UserError: a text sexualises minors; such a text is never encoded.
    """
    if any(map(sexualises_minors, texts)):
        raise UserError("a phrase mentions minors in a sexual context; such phrases are never used")
    return torch.cat([diffuser.encode([text]).tokens.cpu().double() for text in texts])


def all_rows(states: Tensor) -> Tensor:
    """Every token's state as a row, (n length, d) from (n, length, d)."""
    return states.flatten(0, 1)


def last_tokens(diffuser: Diffuser, texts: Sequence[str]) -> list[int]:
    """Position of the last word's last token in each text; of an empty one the first special token."""
    tokenizer = diffuser.pipeline.tokenizer
    most = tokenizer.model_max_length
    return [min(len(tokenizer(text).input_ids), most) - 2 for text in texts]


def key_and_value_layers(diffuser: Diffuser) -> list[nn.Linear]:
    """The key and value projections of all cross-attention layers.

    Raises:
        UserError: there are none, or one has a bias, which the formulas do not know.
    """
    found = [m for name, m in diffuser.network.named_modules() if f".{name}".endswith(ENDS)]
    layers = [m for m in found if isinstance(m, nn.Linear) and m.bias is None]
    if not layers or len(layers) < len(found):
        raise UserError(
            "this model's cross attention has a bias or other layers, which no closed form is for"
        )
    return layers


@torch.no_grad()
def fold(layers: Sequence[nn.Linear], change: Tensor) -> None:
    """Replace each weight W by W M, rounded once.

    Args:
        layers: with weights (out, d).
        change: M, (d, d) float64 on the CPU.
    """
    for layer in layers:
        layer.weight.copy_(layer.weight.cpu().double() @ change)
