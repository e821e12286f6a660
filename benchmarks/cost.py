"""What a run will take: seconds and memory as a linear function of its work, fitted to measured rounds.

Pure functions. The formula and the command that fits it are in docs/scaling.md; no coefficient is built in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from safediffusion.run.workload import Work

# Of every timed phase, the fields of Work that its seconds are made of; of memory, its parts.
SECONDS: dict[str, tuple[str, ...]] = {
    "sample": ("sample_flops", "sample_calls"),
    "decode": ("decode_flops",),
    "score": ("images",),
    "update": ("update_flops", "update_calls", "elements", "reduced"),
    "other": ("images",),
}
MEMORY = ("held_mib", "kept_mib")
FIXED = "fixed"  # memory that every process has

Coefficients = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Measured:
    """A measured round.

    Attributes:
        name: what it is called in a table.
        work: counted.
        seconds: by phase, mean over rounds.
        peak_mib: most memory.
    """

    name: str
    work: Work
    seconds: Mapping[str, float]
    peak_mib: float


@dataclass(frozen=True)
class Prediction:
    """Seconds and memory of one round.

    Attributes:
        seconds: by phase.
        peak_mib: on the busiest device.
        left_out: fields of Work that are not 0 here but were 0 in all measured points.
    """

    seconds: dict[str, float]
    peak_mib: float
    left_out: list[str]

    @property
    def total(self) -> float:
        """Seconds of the round."""
        return sum(self.seconds.values())


def fit(points: Sequence[Measured]) -> Coefficients:
    """Non-negative coefficients of least relative error: seconds per unit of work, and memory per unit.

    Coefficients are None where all points have no such work.

    Raises:
        ValueError: fewer points than memory or a phase has unknowns.
    """
    unknown = max(len(MEMORY) + 1, *(len(_present(points, fields)) for fields in SECONDS.values()))
    if len(points) < unknown:
        raise ValueError(f"{len(points)} measured points cannot fit {unknown} coefficients")
    found = {
        phase: _solve(points, fields, [p.seconds[phase] for p in points]) for phase, fields in SECONDS.items()
    }
    return found | {"memory": _solve(points, (*MEMORY, FIXED), [p.peak_mib for p in points])}


def _value(work: Work, field: str) -> float:
    return 1.0 if field == FIXED else getattr(work, field)


def _present(points: Sequence[Measured], fields: Sequence[str]) -> list[str]:
    return [field for field in fields if any(_value(p.work, field) for p in points)]


def _solve(
    points: Sequence[Measured], fields: Sequence[str], measured: Sequence[float]
) -> dict[str, float | None]:
    present = _present(points, fields)
    target = np.asarray(measured, dtype=float)
    a = np.array([[_value(p.work, field) for field in present] for p in points]) / target[:, None]
    scale = a.max(0)  # FLOPs and calls differ by twelve orders of magnitude
    solution = nnls(a / scale, np.ones(len(target)))[0] / scale
    return dict.fromkeys(fields) | dict(zip(present, solution.tolist(), strict=True))


def predict(work: Work, coefficients: Coefficients) -> Prediction:
    """Seconds by phase and peak memory of a round with this work."""
    return Prediction(
        seconds={phase: _combine(work, coefficients[phase]) for phase in SECONDS},
        peak_mib=_combine(work, coefficients["memory"]),
        left_out=sorted(
            {
                field
                for own in coefficients.values()
                for field, value in own.items()
                if value is None and _value(work, field)
            }
        ),
    )


def _combine(work: Work, own: Mapping[str, float | None]) -> float:
    return sum(value * _value(work, field) for field, value in own.items() if value is not None)


def errors(point: Measured, prediction: Prediction) -> dict[str, float]:
    """Relative errors of a prediction: round, phases and memory; -0.1 is ten percent too low."""
    whole = sum(point.seconds[phase] for phase in SECONDS)
    phases = {
        phase: prediction.seconds[phase] / point.seconds[phase] - 1
        for phase in SECONDS
        if point.seconds[phase] > 0
    }
    return {
        "seconds": prediction.total / whole - 1,
        **phases,
        "memory": prediction.peak_mib / point.peak_mib - 1,
    }


def from_row(row: Mapping[str, Any]) -> Measured:
    """A row of benchmarks/families.py."""
    name = f"{row['family']} {' '.join(row['settings'])}".strip()
    return Measured(name, Work(**row["work"]), row["seconds"], row["peak_memory_mib"])
