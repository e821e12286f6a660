"""Text and paths that people type, checked before anything is done with them.

The schema of a run and the options of the command line use the same functions, so both refuse the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

LONGEST_NAME = 255  # bytes, on every file system in use
LONGEST_PATH = 4096  # bytes, Linux's PATH_MAX


def text(value: str) -> str:
    """Text on one line that has something to read.

    Raises:
        ValueError: it is empty, or holds control characters or what is not a character at all.
    """
    if not value.strip():
        raise ValueError("it is empty")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("it holds a control character, such as a line break")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("it holds bytes that are not UTF-8")
    return value


def path_text(value: str) -> str:
    """A path, hub id or name of ours, with `~` replaced by the home folder.

    Raises:
        ValueError: no file system takes it.
    """
    path = os.path.expanduser(text(value))
    parts = path.replace("\\", "/").split("/")
    if len(os.fsencode(path)) > LONGEST_PATH or max(len(os.fsencode(part)) for part in parts) > LONGEST_NAME:
        raise ValueError(f"a path has at most {LONGEST_PATH} bytes, and a name in it {LONGEST_NAME}")
    return path


def distinct(values: Sequence[str]) -> Sequence[str]:
    """The same list.

    Raises:
        ValueError: it names something twice.
    """
    if twice := next((value for value in values if values.count(value) > 1), None):
        raise ValueError(f"it names {twice} twice")
    return values


def names(value: str) -> tuple[str, ...]:
    """The names in a comma-separated option.

    Raises:
        ValueError: one of them is empty or there twice.
    """
    found = [name.strip() for name in value.split(",")]
    if not all(found):
        raise ValueError("it has an empty name; write names with one comma between them")
    distinct(found)
    return tuple(map(text, found))
