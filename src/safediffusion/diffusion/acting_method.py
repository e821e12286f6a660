"""A method that acts whenever a model samples, as the model knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safediffusion.errors import UserError


@dataclass(frozen=True)
class ActingMethod:
    """A method on a model; such a model is not trained or exported.

    Attributes:
        name: as after the plus of the model's name.
        settings: all that its pictures depend on, as text.
        needs_guidance: whether it acts through classifier-free guidance alone.
        kept: alive with the model.
    """

    name: str
    settings: str
    needs_guidance: bool
    kept: Any


def require_guidance(method: str, guidance: float) -> None:
    """Refuse a sampler without guidance for a method that acts through it.

    Raises:
        UserError: the guidance is 1 or less.
    """
    if guidance <= 1:
        raise UserError(
            f"{method} acts through classifier-free guidance, and the guidance is {guidance:g}; set it "
            "above 1"
        )
