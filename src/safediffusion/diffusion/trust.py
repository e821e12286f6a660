"""What a model folder may contain: classes of the two libraries and tensors, never code of its own."""

import pickle
from typing import Any

from safetensors import SafetensorError

from safediffusion.errors import UserError
from safediffusion.text.first_line import first_line

LIBRARIES = (None, "diffusers", "transformers", "stable_diffusion")  # the last: SD 1.x's safety checker
# Everything that a library raises for files that are damaged, by accident or on purpose.
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, RuntimeError,
    MemoryError, ImportError, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip


def check_index(index: Any, source: object) -> str:
    """The pipeline class that model_index.json names.

    Args:
        index: the file's content.
        source: the folder or hub id it is from, for the message.

    Raises:
        UserError: it is not an index, or a part is not of diffusers or transformers. Such a part would be
            Python from the folder, which the libraries run for those who trust it; nothing here does.
    """
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise UserError(f"{source} names no pipeline class of diffusers in its model_index.json")
    for name, part in index.items():
        if isinstance(part, list) and (len(part) != 2 or part[0] not in LIBRARIES):
            raise UserError(
                f"{source} has a part that is not of diffusers or transformers: {name} is {part}. That would "
                "be code from elsewhere, which is never run; set model.path to a model without it"
            )
    return index["_class_name"]


def reason(error: BaseException) -> str:
    """The first line of an error, or an explanation where a pickle was refused."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, pickle.UnpicklingError):
            return "a pickle in it holds more than tensors, and loading it could run code; use .safetensors."
        cause = cause.__cause__ or cause.__context__
    return first_line(error)
