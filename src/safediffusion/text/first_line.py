"""The beginning of an error that a library raised, for a message of one line."""

from __future__ import annotations

from safediffusion.text.escaping import shorten


def first_line(error: BaseException, most: int = 160) -> str:
    """The first line of an error, shortened to `most` characters; its class where it has no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0] if lines else type(error).__name__, most)
