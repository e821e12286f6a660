"""A row of values as a row of bars of one letter each, for a line of a terminal."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], encoding: str = "utf-8") -> str:
    """Bars from 0 to the largest value; percentages with `>` between them where the encoding has no bars.

    Args:
        values: shares in [0, 1].
        encoding: of the stream that shows it.

    Examples:
        >>> sparkline([0.6, 0.3, 0.0]), sparkline([0.6, 0.3], "ascii")
        ('█▅▁', '60>30')
    """
    try:
        BARS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ">".join(f"{100 * value:.0f}" for value in values)
    top = max(values, default=0) or 1
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values)
