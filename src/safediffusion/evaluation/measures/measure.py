"""What a measure is: it computes one metric, with interval and paired comparison, from raw records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from safediffusion.statistics import intervals

Record = dict[str, Any]
ValueOf = Callable[[Record], float]
Keep = Callable[[Record], bool]


class Unmeasured(Exception):
    """A measure has no value on these records; the message holds the reason."""


def every(record: Record) -> bool:
    """True: keeps all records."""
    return True


class Measure(Protocol):
    """Computes one named metric of a task, under a named protocol."""

    @property
    def name(self) -> str:
        """The metric's name in results."""
        ...

    @property
    def higher_is_better(self) -> bool | None:
        """The better direction; None where neither is, as for shares of groups."""
        ...

    @property
    def protocol(self) -> str:
        """How it is counted, in words, for results."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields of a record that it reads."""
        ...

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """value, ci_low, ci_high and n; None where no record applies.

        Raises:
            Unmeasured: records apply, but too few.
        """
        ...

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Candidate minus baseline, paired by row: difference, ci_low, ci_high, p_value (None: no test)."""
        ...


@dataclass(frozen=True)
class OfRecords:
    """Fields of a measure that reads one value per record kept.

    Attributes:
        value: a record's value; true or false for a rate.
        keep: which records apply.
    """

    name: str
    higher_is_better: bool | None
    protocol: str
    value: ValueOf
    keep: Keep = every
    needs: tuple[str, ...] = ()


def as_summary(value: float, interval: intervals.Interval, n: int) -> dict[str, Any]:
    """A metric as results hold it."""
    return {"value": value, "ci_low": interval[0], "ci_high": interval[1], "n": n}


def as_difference(value: float, interval: intervals.Interval, p_value: float | None = None) -> dict[str, Any]:
    """A paired difference as comparisons hold it."""
    return {"difference": value, "ci_low": interval[0], "ci_high": interval[1], "p_value": p_value}
