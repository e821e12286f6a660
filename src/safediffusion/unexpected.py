"""Uncaught errors as one sentence and an exit code: 2 where the user can fix it, 1 for a failure.

What remains is a mistake of ours; it is told with the name of its class and the way to see where it happened.
"""

from __future__ import annotations

import errno
import re
from json import JSONDecodeError
from typing import NamedTuple

from pydantic import ValidationError
from yaml import YAMLError

from safediffusion.config.invalid import explain_invalid
from safediffusion.errors import RunError, UserError
from safediffusion.text.escaping import shorten

LONGEST = 400
# Errors that are due to the path itself, with advice; all other errors of the system are failures.
PATHS = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle; give the path of the thing itself",
    errno.ENOTDIR: "give a path that does not lead through a file",
    errno.EISDIR: "give a file, not a folder",
    errno.ENOENT: "check the path",
    errno.EACCES: "choose a place that you may use",
    errno.EPERM: "choose a place that you may use",
    errno.EROFS: "choose a place that you may write to",
    errno.EINVAL: "check the path",
    errno.EEXIST: "choose another name",
    errno.ENOTEMPTY: "choose another name",
}
MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|unable to allocate|cannot allocate"
    r"|invalid buffer size|storage size calculation overflowed|multiplication overflow|too large to (fit|be)",
    re.IGNORECASE,
)
BYTES = re.compile(r"([\d.]+) ?(bytes|KiB|MiB|GiB|TiB|PiB|EiB)", re.IGNORECASE)
LESS = (
    "set model.resolution, rollout.batch_size, train.micro_batch or reward.batch_size lower, "
    "or give fewer prompts at once"
)


class Told(NamedTuple):
    """The message that is printed, and the exit code."""

    text: str
    code: int


def tell(error: Exception, verbose: bool = False) -> Told:
    """Any error as a message of one line and an exit code."""
    if isinstance(error, UserError | RunError):
        return Told(str(error), 2 if isinstance(error, UserError) else 1)
    told = _memory(error) or _known(error)
    if told:
        return Told(shorten(_line(told.text), LONGEST), told.code)
    hint = "" if verbose else "; -v shows where"
    return Told(f"{shorten(_line(error), LONGEST)} ({type(error).__name__}{hint})", 1)


def _known(error: Exception) -> Told | None:
    if isinstance(error, ValidationError):
        return Told(explain_invalid(error), 2)
    if isinstance(error, YAMLError):
        return Told(f"a file is not valid YAML: {error}", 2)
    if isinstance(error, JSONDecodeError):
        return Told(f"a file is not valid JSON: {error}; if a killed command left it, run that again", 1)
    if isinstance(error, UnicodeError):
        return Told(f"a text is not valid UTF-8 ({getattr(error, 'reason', error)})", 2)
    if isinstance(error, RecursionError):
        return Told("an input is nested too deeply to be read; flatten it", 2)
    if isinstance(error, ModuleNotFoundError):
        return Told(f"the package {error.name} is needed here and not installed: pip install {error.name}", 1)
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, ValueError) and "null byte" in str(error):
        return Told("a path holds a NUL character; check the path", 2)
    return None


def _system(error: OSError) -> Told:
    """An error of the operating system: the path, the reason and the advice."""
    if error.errno is None or error.strerror is None:  # raised by a library with a message of its own
        return Told(f"{_line(error)} ({type(error).__name__}; -v shows where)", 1)
    about = f"{shorten(str(error.filename), 120)}: " if error.filename is not None else ""
    advice = PATHS.get(error.errno)
    return Told(
        f"{about}{error.strerror.lower()}{f'; {advice}' if advice else ''}", 2 if advice and about else 1
    )


def _memory(error: Exception) -> Told | None:
    """The message for too little memory, whichever library raised the error."""
    if not isinstance(error, MemoryError | RuntimeError) and type(error).__name__ != "OutOfMemoryError":
        return None
    if not isinstance(error, MemoryError) and not MEMORY.search(str(error)):
        return None
    asked = BYTES.search(str(error))
    size = f" for {_size(asked[1], asked[2])} at once" if asked else ""
    return Told(f"there is not enough memory{size}; {LESS}", 1)


def _size(number: str, unit: str) -> str:
    """A size in GiB where it is large."""
    if unit.lower() != "bytes":
        return f"{number} {unit}"
    gib = float(number.rstrip(".")) / 2**30
    return f"{gib:,.1f} GiB" if gib >= 0.1 else f"{number} bytes"


def _line(error: object) -> str:
    """The message of an error on one line, or a stand-in where it is empty."""
    return " ".join(str(error).split()) or "something unexpected happened"
