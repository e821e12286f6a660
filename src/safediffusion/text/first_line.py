"""The beginning of an error that a library raised, for a message of one line."""

from __future__ import annotations

from safediffusion.text.escaping import shorten


def first_line(error: BaseException, most: int = 160) -> str:
    """The first line of an error, shortened to `most` characters; its class where it has no text."""
    return shorten((str(error).strip() or type(error).__name__).splitlines()[0], most)
