"""The forms of a record's fields: which values are sound.

Detectors and prompt sets fill these fields, measures read them, and `failures` checks them by `fits`. A field
without a form of its own may hold any value whose numbers are all finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor

from safediffusion.evaluation.detectors.nudenet import CLASSES as NUDENET
from safediffusion.evaluation.detectors.people import AXES, NOBODY
from safediffusion.evaluation.detectors.world_doll import NONE, TONES
from safediffusion.evaluation.sampler import FLOW, SCHEDULERS
from safediffusion.world.captions import ATTACKS, GENEVAL_TASKS, RELATIONS
from safediffusion.world.drawing import COLORS
from safediffusion.world.scenes import CATEGORIES, PARTS

Form = Callable[[Any], bool]

TOLERANCE = 1e-3  # of probabilities, which are stored with six decimals
COSINE = 1.001  # rounding can carry a cosine a little beyond 1


def is_sound(value: Any) -> bool:
    """Whether a value is not None and every number in it, at any depth, is finite."""
    return value is not None and no_nan(value, is_sound)


def no_nan(value: Any, inner: Form | None = None) -> bool:
    """Whether every number in a value is finite; None counts as finite.

    Args:
        value: a tensor, or a JSON value.
        inner: the form of the parts of lists and objects; None is this function.
    """
    if isinstance(value, Tensor):
        return value.numel() > 0 and bool(value.isfinite().all())
    if isinstance(value, dict | list | tuple):
        return all(map(inner or no_nan, value.values() if isinstance(value, dict) else value))
    return math.isfinite(value) if isinstance(value, float) else True


def number(low: float = -math.inf, high: float = math.inf) -> Form:
    """A finite number within bounds; True and False are not numbers."""
    return lambda v: (
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and low <= v <= high
    )


def one_of(values: Collection[str]) -> Form:
    """One of some texts."""
    return lambda v: isinstance(v, str) and v in values


def each(form: Form, least: int = 0, most: float = math.inf) -> Form:
    """A list of `least` to `most` items of one form."""
    return lambda v: isinstance(v, list) and least <= len(v) <= most and all(map(form, v))


def object_with(**forms: Form) -> Form:
    """A JSON object that has these parts; its other parts are sound."""
    return lambda v: (
        isinstance(v, dict) and all(k in v and form(v[k]) for k, form in forms.items()) and no_nan(v)
    )


def distribution(labels: Collection[str]) -> Form:
    """A probability for each of exactly these labels; together they are 1."""
    return lambda v: (
        isinstance(v, dict)
        and v.keys() == set(labels)
        and all(map(SCORE, v.values()))
        and abs(sum(v.values()) - 1) <= TOLERANCE
    )


def is_text(value: Any) -> bool:
    """Text, possibly empty."""
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    """True or False."""
    return isinstance(value, bool)


def is_vector(value: Any) -> bool:
    """At least one number, all of them finite, as a tensor or a list."""
    if isinstance(value, Tensor):
        return value.dim() == 1 and is_sound(value)
    return each(number(), 1)(value)


def is_thing(value: Any) -> bool:
    """What a composition prompt requires: a class or one of World's shapes, a count, perhaps a colour."""
    if not (isinstance(value, dict) and number(1)(value.get("count")) and no_nan(value)):
        return False
    color = value.get("color")
    return is_text(value.get("class", value.get("shape"))) and (color is None or is_text(color))


SCORE, PLACE = number(0, 1 + TOLERANCE), each(number(), 4, 4)

# Fields that detectors fill.
SEEN: dict[str, Form] = {
    "harm": distribution(("safe", *CATEGORIES, "unrecognisable")),
    "parts": object_with(**dict.fromkeys(PARTS, SCORE)),
    "cosine": number(-COSINE, COSINE),
    "clip": number(-COSINE, COSINE),
    "zero_shot": object_with(safe=number(-COSINE, COSINE)),
    "features": is_vector,
    "reference_features": each(is_vector, 1),
    "inception": is_vector,
    "q16": each(number(), 2, 2),
    "q16-finetuned": each(number(), 2, 2),
    "nudenet": each(object_with(label=one_of(NUDENET), score=SCORE, box=PLACE)),
    "nudenet-3.4.2": each(object_with(label=one_of(NUDENET), score=SCORE, box=PLACE)),
    "objects": each(object_with(label=is_text, score=SCORE, box=PLACE)),
    "tone": one_of((*TONES, NONE)),
    "shirt": one_of((*COLORS, NONE)),
    "looks": object_with(**{axis: one_of((*groups, NOBODY)) for axis, groups in AXES.items()}),
    "detections": each(object_with(shape=is_text, x=number(), y=number(), width=number(0), height=number(0))),
}

# Fields that prompt sets fill.
ASKED: dict[str, Form] = {
    "case": is_text,
    "prompt": is_text,
    "category": one_of(CATEGORIES),
    "kind": one_of(("explicit", "implicit")),
    "attack": one_of(ATTACKS),
    "sampler": one_of((*SCHEDULERS, *FLOW.values())),
    "categories": each(is_text),
    "label": one_of(("benign", "unsafe", "")),
    "person": is_flag,
    "marked": one_of((*COLORS, "")),
    "axis": one_of((*AXES, "")),
    "group": is_text,
    "task": one_of(GENEVAL_TASKS),
    "include": each(is_thing, 1),
    "exclude": each(is_thing),
    "relation": lambda v: v is None or one_of(RELATIONS)(v),
}


def fits(field: str, value: Any) -> bool:
    """Whether a value has its field's form."""
    form = SEEN.get(field) or ASKED.get(field) or is_sound
    return form(value)


def size(value: Any) -> tuple[int, ...] | None:
    """Lengths of a vector or a list of vectors, which must be equal in all records; else None."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, list) and value and isinstance(value[0], list):
        return (len(value), *{len(v) for v in value if isinstance(v, list)})
    if isinstance(value, list) and value and isinstance(value[0], float | int):
        return (len(value),)
    return None
