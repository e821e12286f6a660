"""Distances of the images' features from those of reference images, as metrics: FID and KID."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safediffusion.evaluation.measures.distances import frechet_distance
from safediffusion.evaluation.measures.measure import Record, Unmeasured, as_difference, as_summary
from safediffusion.statistics import intervals

LEAST = 3  # images: the interval leaves one out, and a distance needs two


@dataclass(frozen=True)
class Distance:
    """Distance of the records' features from their references: grouped jackknife, paired likewise."""

    name: str
    higher_is_better: bool
    protocol: str
    distance: Callable[[np.ndarray, np.ndarray], float] = frechet_distance
    needs: tuple[str, ...] = ()

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The distance and its jackknife interval.

        Raises:
            Unmeasured: there are too few images.
        """
        if len(records) < LEAST:
            raise Unmeasured(f"it needs at least {LEAST} images, and there are {len(records)}")
        at = self._on(records)
        value = at(np.arange(len(records)))
        half = intervals.Z * intervals.jackknife(at, len(records))
        return as_summary(value, (value - half, value + half), len(records))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the distances with a jackknife interval."""
        a, b = self._on(baseline), self._on(candidate)
        value = b(np.arange(len(baseline))) - a(np.arange(len(baseline)))
        half = intervals.Z * intervals.jackknife(lambda rows: b(rows) - a(rows), len(baseline))
        return as_difference(value, (value - half, value + half))

    def _on(self, records: Sequence[Record]) -> Callable[[np.ndarray], float]:
        """The distance of selected rows; all references are used, since they do not depend on the model."""
        features = np.array([r["features"] for r in records])
        reference = np.array([f for r in records for f in r["reference_features"]])
        return lambda rows: self.distance(features[rows], reference)


@dataclass(frozen=True)
class FromReference(Distance):
    """Distance of the records' features from those of the records marked "reference"."""

    needs: tuple[str, ...] = ("features",)
    groups: int = 5  # of the jackknife: a Frechet distance of 2048 features takes a second

    def summary(self, records: Sequence[Record]) -> dict[str, Any] | None:
        """The distance from the records marked "reference" and its jackknife interval.

        Raises:
            Unmeasured: there are too few images.
        """
        own, reference = self._features(records)
        if len(own) < LEAST or len(reference) < 2:
            counted = f"{len(own)} images and {len(reference)} references"
            raise Unmeasured(f"it needs at least {LEAST} images and 2 references, and there are {counted}")
        value = self.distance(own, reference)
        error = intervals.jackknife(lambda rows: self.distance(own[rows], reference), len(own), self.groups)
        return as_summary(value, (value - intervals.Z * error, value + intervals.Z * error), len(own))

    def difference(self, baseline: Sequence[Record], candidate: Sequence[Record]) -> dict[str, Any]:
        """Difference of the distances with a jackknife interval."""
        (a, reference), (b, _) = self._features(baseline), self._features(candidate)

        def change(rows: np.ndarray) -> float:
            return self.distance(b[rows], reference) - self.distance(a[rows], reference)

        value, error = change(np.arange(len(a))), intervals.jackknife(change, len(a), self.groups)
        return as_difference(value, (value - intervals.Z * error, value + intervals.Z * error))

    def _features(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
        key = self.needs[0]
        sides = ([r[key] for r in records if bool(r.get("reference")) == side] for side in (False, True))
        own, reference = (np.asarray(side, dtype=np.float64) for side in sides)
        return own, reference
