"""The one place that says what failed: a record holds what was seen, or an error, and nothing in between.

A picture that is missing, not finite, of one colour, or that a detector cannot say anything sound about is an
error. Errors are in no metric but one: `n_failed` counts them, and `blank_rate` takes them in. What is not
known never makes a model look safer or better.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from safediffusion.errors import RunError, UserError
from safediffusion.evaluation import forms
from safediffusion.evaluation.detectors.detector import Detector, Fragment, Row
from safediffusion.evaluation.measures import FromReference, Measure, Record
from safediffusion.evaluation.out_of_memory import halving

log = logging.getLogger(__name__)

Probe = Callable[[Record], Any]

BLANK = 4 / 255  # a picture whose channels vary by no more than this shows one colour
LOOKED_AT = "image_sha256"  # in the record of every picture that detectors were shown
FIXED = ("features", "reference_features", "inception")  # of one size in all records
FINAL = (UserError, RunError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)


def picture_error(picture: Tensor | str, blank: bool = True) -> str | None:
    """Why a picture cannot be judged; None where it can.

    Args:
        picture: (3, h, w) in [0, 1], or why there is none.
        blank: whether a picture of one colour is an error.
    """
    if isinstance(picture, str):
        return picture
    if not isinstance(picture, Tensor) or picture.dim() != 3 or len(picture) != 3 or not picture.numel():
        return f"not a picture: {_kind(picture)} instead of (3, height, width)"
    if not picture.isfinite().all():
        return "not a picture: the model drew nan or infinity"
    if picture.min() < 0 or picture.max() > 1:
        return "not a picture: values outside [0, 1]"
    if blank and (picture.amax((1, 2)) - picture.amin((1, 2))).max() <= BLANK:
        return "blank: all pixels have one colour"
    return None


def _kind(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def ask(
    name: str, detector: Detector, pictures: Sequence[Tensor], rows: Sequence[Row], gives: Sequence[str]
) -> list[Fragment]:
    """What a detector saw in each picture, or {"error": why}.

    A detector that fails on a batch is asked again picture by picture. What no other picture could mend is
    raised: too little memory, a broken device.

    Args:
        name: of the detector, for messages.
        detector: whom to ask.
        pictures: (3, h, w) in [0, 1] each.
        rows: the prompts'.
        gives: fields that each fragment must have.
    """

    def work(part: list[tuple[Tensor, Row]]) -> list[Fragment]:
        found = detector(*zip(*part, strict=True))
        if not isinstance(found, list) or len(found) != len(part):
            raise ValueError(f"not one fragment per picture: {len(part)} pictures")
        return found

    def alone(item: tuple[Tensor, Row]) -> Fragment:
        try:
            (fragment,) = halving(work, [item])
        except FINAL:
            raise
        except Exception as error:
            return {"error": f"{name} failed: {type(error).__name__}: {error}"}
        return fragment

    items = [*zip(pictures, rows, strict=True)]
    try:
        found = halving(work, items)
    except FINAL:
        raise
    except Exception as error:
        found = [alone(item) for item in items]
        lost = sum("error" in fragment for fragment in found)
        if lost:
            why = f"{type(error).__name__}: {error}"
            log.warning("%s failed on %d of %d pictures: %s", name, lost, len(items), why)
    return [_checked(name, fragment, gives) for fragment in found]


def _checked(name: str, fragment: Any, gives: Sequence[str]) -> Fragment:
    if not isinstance(fragment, dict) or not fragment:
        return {"error": f"{name} said nothing"}
    if "error" in fragment:
        return fragment
    wrong = [key for key in gives if key not in fragment]
    wrong += [key for key, value in fragment.items() if not forms.fits(key, value)]
    return {"error": f"{name} gave no sound {', '.join(wrong)}"} if wrong else fragment


def settled(records: Sequence[Record], measures: Sequence[Measure]) -> list[Record]:
    """The records, those that a measure cannot be taken of as errors.

    A field that any record holds is one that its detector or prompt set gives, so every record must hold it.
    A record of a picture that no detector was shown is an error too.

    Args:
        records: new or stored ones, references among them.
        measures: that will be taken of them.
    """
    needs = list(dict.fromkeys(need for measure in measures for need in measure.needs))
    good = [r for r in records if "error" not in r]
    held = [need for need in needs if any(need in r for r in good)]
    of_real = [need for m in measures if isinstance(m, FromReference) for need in m.needs if need in held]
    sizes = {field: _usual(field, good) for field in FIXED if field in held}
    seen = [need for need in needs if need not in forms.ASKED]
    probes = _probes(measures, held)

    def why(record: Record) -> str | None:
        reference = bool(record.get("reference"))
        if seen and not any(field in record for field in (*seen, LOOKED_AT)):
            return "damaged record: it holds nothing that a detector saw"
        for field in of_real if reference else held:
            if field not in record or not forms.fits(field, record[field]):
                return f"damaged record: no sound {field}"
            if field in sizes and forms.size(record[field]) != sizes[field]:
                return f"damaged record: {field} has another length than in other records"
        return None if reference else _not_measurable(record, probes)

    return [r if "error" in r or (reason := why(r)) is None else r | {"error": reason} for r in records]


def _usual(field: str, records: Sequence[Record]) -> tuple[int, ...] | None:
    """The size that a field has in most records."""
    found = Counter(forms.size(r[field]) for r in records if field in r and forms.fits(field, r[field]))
    return found.most_common(1)[0][0] if found else None


def _probes(measures: Sequence[Measure], held: Sequence[str]) -> list[Probe]:
    """What measures compute of one record, each once, where the fields for it are there."""
    able = [m for m in measures if set(m.needs) <= set(held)]
    found = [getattr(m, name) for m in able for name in ("keep", "value", "group") if hasattr(m, name)]
    return list({id(probe): probe for probe in found}.values())


def _not_measurable(record: Record, probes: Sequence[Probe]) -> str | None:
    try:
        values = [probe(record) for probe in probes]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        return f"damaged record: {type(error).__name__}: {error}"
    if any(isinstance(v, float) and not math.isfinite(v) for v in values):
        return "damaged record: a value is not finite"
    return None


class AllFailed(RunError):
    """Not a single picture of a task could be judged; the results say why."""


def reasons(errors: Sequence[str], most: int = 3) -> str:
    """The commonest errors with how often each occurred."""
    counts = Counter(error.removeprefix("damaged record: ") for error in errors).most_common()
    shown = "; ".join(f"{times} x {error}" for error, times in counts[:most])
    return shown + (f"; {len(counts) - most} other reasons" if len(counts) > most else "")


def require_some(results: dict[str, dict[str, Any]]) -> None:
    """Refuse results of which a task has not a single picture that could be judged.

    Args:
        results: by task, contents of results.json.

    Raises:
        AllFailed: names the task and why its pictures failed.
    """
    lost = [
        f"{name}: all {r['n']} pictures failed ({reasons(list(r['failed'].values()))})"
        for name, r in results.items()
        if r["n_failed"] >= r["n"]
    ]
    if lost:
        raise AllFailed(f"{'; '.join(lost)}; nothing can be said about safety or quality")
