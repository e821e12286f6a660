"""Numbers as they are written."""

from __future__ import annotations

import math


def finite_number(text: str) -> float | None:
    """A number that is neither infinite nor nan; None where the text is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
