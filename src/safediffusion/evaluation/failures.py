"""The one place that decides what failed: a record holds the output of all detectors, or an error.

An image that is missing, not finite, of one colour, or for which a detector returns nothing sound is an
error. Errors count in `blank_rate` and in no other metric; `n_failed` is their number. A failed image never
makes a model look safer or better.
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

BLANK = 4 / 255  # an image whose channels vary by no more than this shows one colour
LOOKED_AT = "image_sha256"  # in the record of every image that the detectors examined
FIXED = ("features", "reference_features", "inception")  # of one size in all records
FINAL = (UserError, RunError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)


def image_error(image: Tensor | str, blank: bool = True) -> str | None:
    """The reason why an image cannot be judged; None if it can.

    Args:
        image: (3, h, w) in [0, 1], or the reason why there is none.
        blank: whether an image of one colour is an error.
    """
    if isinstance(image, str):
        return image
    if not isinstance(image, Tensor) or image.dim() != 3 or len(image) != 3 or not image.numel():
        return f"not an image: {_kind(image)} instead of (3, height, width)"
    if not image.isfinite().all():
        return "not an image: the model returned nan or infinity"
    if image.min() < 0 or image.max() > 1:
        return "not an image: values outside [0, 1]"
    if blank and (image.amax((1, 2)) - image.amin((1, 2))).max() <= BLANK:
        return "blank: all pixels have one colour"
    return None


def _kind(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def examine(
    name: str, detector: Detector, images: Sequence[Tensor], rows: Sequence[Row], gives: Sequence[str]
) -> list[Fragment]:
    """A detector's fragment of each image, or {"error": reason}.

    A detector that fails on a batch is called again image by image.

    Args:
        name: of the detector, for messages.
        detector: to call.
        images: (3, h, w) in [0, 1] each.
        rows: the prompts'.
        gives: fields that each fragment must have.

    Raises:
        UserError, RunError, MemoryError: what does not depend on the image, such as a broken device.
    """

    def work(part: list[tuple[Tensor, Row]]) -> list[Fragment]:
        found = detector(*zip(*part, strict=True))
        if not isinstance(found, list) or len(found) != len(part):
            raise ValueError(f"not one fragment per image: {len(part)} images")
        return found

    def alone(item: tuple[Tensor, Row]) -> Fragment:
        try:
            (fragment,) = halving(work, [item])
        except FINAL:
            raise
        except Exception as error:
            return {"error": f"{name} failed: {type(error).__name__}: {error}"}
        return fragment

    items = [*zip(images, rows, strict=True)]
    try:
        found = halving(work, items)
    except FINAL:
        raise
    except Exception as error:
        found = [alone(item) for item in items]
        lost = sum("error" in fragment for fragment in found)
        if lost:
            why = f"{type(error).__name__}: {error}"
            log.warning("%s failed on %d of %d images: %s", name, lost, len(items), why)
    return [_checked(name, fragment, gives) for fragment in found]


def _checked(name: str, fragment: Any, gives: Sequence[str]) -> Fragment:
    if not isinstance(fragment, dict) or not fragment:
        return {"error": f"{name} returned nothing"}
    if "error" in fragment:
        return fragment
    wrong = [key for key in gives if key not in fragment]
    wrong += [key for key, value in fragment.items() if not forms.fits(key, value)]
    return {"error": f"{name} returned no sound {', '.join(wrong)}"} if wrong else fragment


def settled(records: Sequence[Record], measures: Sequence[Measure]) -> list[Record]:
    """The records, with an error in place of those from which a measure cannot be computed.

    If one record holds a field, its detector or prompt set gives that field, so every record must hold it.
    A record of an image that no detector examined is an error too.

    Args:
        records: new or stored, references included.
        measures: that will be computed.
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
            return "damaged record: it holds no detector's output"
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
    """The functions of one record that the measures use, each once, if the records hold their fields."""
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
    """All images of a task failed; the results hold the reasons."""


def reasons(errors: Sequence[str], most: int = 3) -> str:
    """The commonest errors with how often each occurred."""
    counts = Counter(error.removeprefix("damaged record: ") for error in errors).most_common()
    shown = "; ".join(f"{times} x {error}" for error, times in counts[:most])
    return shown + (f"; {len(counts) - most} other reasons" if len(counts) > most else "")


def require_some(results: dict[str, dict[str, Any]]) -> None:
    """Refuse results in which all images of a task failed.

    Args:
        results: by task, contents of results.json.

    Raises:
        AllFailed: names the tasks and why their images failed.
    """
    lost = [
        f"{name}: all {r['n']} images failed ({reasons(list(r['failed'].values()))})"
        for name, r in results.items()
        if r["n_failed"] >= r["n"]
    ]
    if lost:
        raise AllFailed(f"{'; '.join(lost)}; nothing can be said about safety or quality")
