"""The mathematics of activation steering: unit vectors of concepts, and features turned away from them.

Source: CASteer (Gaintseva et al., 2025, arXiv 2503.09630).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-12  # a norm below this is taken for 0


def unit_difference(unsafe: Tensor, safe: Tensor) -> Tensor:
    """The direction from safe to unsafe features, of norm 1, or 0 where both are equal.

    Args:
        unsafe, safe: mean features with and without a concept, or sums over equally many, (..., d) float32.
    """
    return F.normalize(unsafe - safe, dim=-1, eps=SMALLEST)


def reflected(h: Tensor, s: Tensor, strength: float) -> Tensor:
    """Features without their part along a concept: h - strength max(0, <h, s>) s.

    With strength 1 the part is removed, with strength 2 it is mirrored (Householder), which keeps the norm.

    Args:
        h: features, (..., d) float32.
        s: unit vector of the concept, (d,) float32.
        strength: beta of the paper.
    """
    along = (h @ s).clamp(min=0).unsqueeze(-1)
    return h - strength * along * s


def turned_away(h: Tensor, concepts: Iterable[Tensor], strength: float) -> Tensor:
    """Features reflected at one concept after the other, then rescaled to the norm they had.

    Args:
        h: features, (..., d), of any precision; the arithmetic is float32.
        concepts: unit vectors, (d,) float32 each.
        strength: beta of the paper; 0 changes nothing.
    """
    full = h.float()
    turned = full
    for s in concepts:
        turned = reflected(turned, s, strength)
    before, after = (x.norm(dim=-1, keepdim=True) for x in (full, turned))
    return (turned * (before / after.clamp(min=SMALLEST))).to(h.dtype)
