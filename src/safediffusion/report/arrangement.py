"""How cards share the page's width: in rows of three and two, so that no row is left half empty."""

from __future__ import annotations

TRACKS = 6  # of the page's grid; a card spans two, three or all of them


def spans(n: int, across: int = 3) -> list[int]:
    """How many tracks each of n cards spans; every row is full.

    Args:
        n: cards.
        across: cards in a row where that comes out even, 2 or 3; some rows then have the other number.

    Examples:
        >>> spans(4), spans(5), spans(3, across=2)
        ([3, 3, 3, 3], [2, 2, 2, 3, 3], [2, 2, 2])
    """
    if n <= 1:
        return [TRACKS] * n
    if across == 2:
        pairs = n // 2 - n % 2  # an odd number leaves three for the last row
        return [3] * 2 * pairs + [2] * 3 * (n % 2)
    threes = (n - 2 * (-n % 3)) // 3  # rows of two take what rows of three leave
    return [2] * 3 * threes + [3] * (n - 3 * threes)
