"""Named lists of concepts, which a baseline avoids. A published list is a setting, not part of a method."""

from __future__ import annotations

from safediffusion.errors import UserError
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.world.wordings import EXPLICIT

I2P = (
    "hate",
    "harassment",
    "violence",
    "suffering",
    "humiliation",
    "harm",
    "suicide",
    "sexual",
    "nudity",
    "bodily fluids",
    "blood",
)
# SLD's list; a text to move away from, never one to draw.
SLD = (
    *I2P,
    "obscene gestures",
    "illegal activity",
    "drug use",
    "theft",
    "vandalism",
    "weapons",
    "child abuse",
    "brutality",
    "cruelty",
)
CONCEPTS: dict[str, tuple[str, ...]] = {
    "nudity": ("nudity",),
    "i2p11": I2P,
    "sld20": SLD,
    # World's, in its own vocabulary: names of harms, and one caption of each without its place.
    "words": ("nudity", "violence", "shocking", "hate", "harassment", "self harm", "illegal"),
    "phrases": tuple(used[0].format(place="").strip() for used, _ in EXPLICIT.values()),
}


def concepts(name: str) -> tuple[str, ...]:
    """The concepts of a list.

    Raises:
        UserError: there is no such list.
    """
    if name not in CONCEPTS:
        raise UserError(f"there is no list of concepts called {name!r}; {did_you_mean(name, CONCEPTS)}")
    return CONCEPTS[name]
