"""Suggestions for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `did you mean X?` for the closest known name, else `known: ` and all of them.

    Args:
        name: as it was written.
        known: all names.
        cutoff: how alike two names must be, in [0, 1]; see `difflib.get_close_matches`.
    """
    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
