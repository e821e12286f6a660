"""`--strength` read from the command line: one number, or several."""

from __future__ import annotations

from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.files.paths import name_list
from safediffusion.text.escaping import shorten
from safediffusion.text.numbers import finite_number


def one_strength(text: str) -> float:
    """A strength of the command line.

    Raises:
        UserError: it is not a number, or it is negative.
    """
    value = _number(text)
    if value < 0:
        raise UserError(
            f"--strength is {text}: steering has one sign, and below 0 a model would be less safe than its "
            "base; set 0 or more"
        )
    return value


def _number(text: str) -> float:
    value = finite_number(text)
    if value is None:
        raise UserError(f"--strength {shorten(text)!r} is not a number; 0 is a run's base and 1 its result")
    return value


def strengths(text: str) -> tuple[float, ...]:
    """The strengths in a comma-separated option, ascending, so that tables compare with the lowest.

    Raises:
        UserError: one of them is refused, or there twice.
    """
    found = sorted(map(one_strength, name_list(text)))
    if len(set(found)) < len(found):
        raise UserError(f"--strength {shorten(text)!r} has a strength twice; remove one of them")
    return tuple(abs(value) for value in found)  # -0 is 0


def read_strengths(text: str | None, images: Path | None) -> tuple[float, ...]:
    """The strengths of the command line; none where the option is not given.

    Raises:
        UserError: images are given, which have no weights; or a strength is refused.
    """
    if text is not None and images:
        raise UserError("--strength changes a run's weights, and --images has none; leave one of them out")
    return () if text is None else strengths(text)
