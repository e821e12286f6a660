"""pydantic's errors as one line: the setting that is not accepted, why, and how to write it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from safediffusion.text.escaping import shorten

HINTS = {
    "int_type": "write it in plain digits, as 1000",
    "int_from_float": "write it in plain digits, as 1000",
    "float_type": "write it in plain digits, as 0.5 or 1e-5",
    "bool_type": "write true or false",
    "string_type": "in YAML and on the command line quotes inside the word make a text of it: '\"...\"'",
    "list_type": "write it as [first, second]",
    "model_type": "write it as {name: value}",
    "model_attributes_type": "write it as {name: value}",
    "dict_type": "write it as {name: value}",
    "extra_forbidden": "there is no such setting here",
}


def explain_invalid(error: ValidationError) -> str:
    """The first error, as `key=value is not accepted: reason`."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in first["loc"])
    if not key:
        return message
    hint = f"; {HINTS[first['type']]}" if first["type"] in HINTS else ""
    return (
        f"{shorten(key)}={written(first['input'])} is not accepted: {message[0].lower()}{message[1:]}{hint}"
    )


def written(value: Any) -> str:
    """A value as it is typed on the command line, shortened where it is long."""
    names: dict[Any, str] = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    try:
        return shorten(repr(value))
    except ValueError:  # Python does not print integers of more than 4300 digits
        return "a number of thousands of digits"
