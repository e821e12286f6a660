"""A count scaled to a fixed number of prompts, so that skipped prompts do not make it smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safediffusion.evaluation.measures.counts import Count
from safediffusion.evaluation.measures.measure import Record


@dataclass(frozen=True)
class CountPer(Count):
    """The sum of `value` over the records kept, times prompts / n; intervals and differences are scaled too.

    Attributes:
        prompts: the number of prompts, one image each, to which the count is scaled.
    """

    prompts: int = 1

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The sum and its Poisson interval, both times prompts / n."""
        found = super().summary(records)
        return found and self._scaled(found, found["n"], ("value", "ci_low", "ci_high"))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the sums and its interval, both times prompts / n."""
        found = super().difference(baseline, candidate)
        n = sum(map(self.keep, baseline))
        return self._scaled(found, n, ("difference", "ci_low", "ci_high"))

    def _scaled(self, found: dict[str, Any], n: int, keys: Sequence[str]) -> dict[str, Any]:
        return found | {key: found[key] * self.prompts / n for key in keys}
