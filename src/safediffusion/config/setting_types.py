"""Types of settings: every number has both bounds, every text can be written on one line.

Upper bounds are far above what is of use and below what asks for a terabyte or does not fit a 64-bit number.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from safediffusion.text.escaping import shorten
from safediffusion.text.words import distinct, file_name, path_text, text

LARGEST = 1e9

Label = Literal["benign", "unsafe"]  # of a prompt
SteeringMode = Literal["translate", "project"]
Steered = Literal["always", "unsafe"]  # which prompts are steered

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
StepsOrZero = Annotated[int, Field(ge=0, le=1_000_000)]
Images = Annotated[int, Field(ge=1, le=100_000)]  # at once, or of a group
ImagesOrZero = Annotated[int, Field(ge=0, le=100_000)]
GroupSize = Annotated[int, Field(ge=2, le=100_000)]
Denoising = Annotated[int, Field(ge=1, le=10_000)]
DenoisingOrZero = Annotated[int, Field(ge=0, le=10_000)]
Rank = Annotated[int, Field(ge=0, le=4096)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
Alpha = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Guidance = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1000), AfterValidator(text)]
FileName = Annotated[Text, AfterValidator(file_name)]
Place = Annotated[str, AfterValidator(text), AfterValidator(path_text)]

Item = TypeVar("Item", bound=str)
Distinct = Annotated[list[Item], Field(max_length=100), AfterValidator(distinct)]


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of the user's own code, which YAML writes and reads back unchanged.

    Raises:
        ValueError: a name is not a Python name, or a value is neither a text, a finite number, true, false,
            null, nor a list of these.
    """
    for name, value in options.items():
        if not name.isidentifier() or name == "device":
            raise ValueError(f"{shorten(name)!r} cannot name an option; use a Python name other than device")
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                text(item)
            elif not (item is None or isinstance(item, int) or _is_finite(item)):
                raise ValueError(
                    f"{shorten(name)} is not a plain value; write a text, a number, true, false, null, "
                    "or a list of these"
                )
    return options


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


Options = Annotated[dict[str, Any], Field(max_length=100), AfterValidator(plain_options)]
