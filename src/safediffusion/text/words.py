"""Text and paths that people type, checked before anything is done with them.

The schema of a run and the options of the command line use the same functions, so both refuse the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

FORBIDDEN = '/\\:*?"<>|'  # in names of files, on one system or another
LONGEST_NAME = 255  # bytes, on every file system in use
LONGEST_FILE_NAME = 100  # bytes, so that endings can be added
LONGEST_PATH = 4096  # bytes, Linux's PATH_MAX


def text(value: str) -> str:
    """Check a text of one line that is not empty.

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
    """Check a path, hub id or built-in name, and replace `~` by the home folder.

    Raises:
        ValueError: no file system takes it.
    """
    if not value or "\0" in value:
        raise ValueError("it is empty" if not value else "it holds a NUL character")
    path = os.path.expanduser(value)
    parts = path.replace("\\", "/").split("/")
    if len(os.fsencode(path)) > LONGEST_PATH or max(len(os.fsencode(part)) for part in parts) > LONGEST_NAME:
        raise ValueError(f"a path has at most {LONGEST_PATH} bytes, and a name in it {LONGEST_NAME}")
    return path


def file_name(value: str) -> str:
    """Check a name that becomes part of file names on every operating system.

    Raises:
        ValueError: it would lead to another folder, or some system refuses it as a file name.
    """
    forbidden = any(c in FORBIDDEN for c in value) or value.strip(". ") != value
    if forbidden or len(os.fsencode(value)) > LONGEST_FILE_NAME:
        raise ValueError(
            f"files are named after it; give a name of at most {LONGEST_FILE_NAME} bytes without "
            'slashes, none of :*?"<>| and no point or space at its ends'
        )
    return value


def as_file_name(value: str) -> str:
    """Make a file name from a path or hub id; long ones are cut and get a hash, so they stay different."""
    name = "".join("-" if c in FORBIDDEN or ord(c) < 32 else c for c in value).strip(". ") or "-"
    if len(os.fsencode(name)) <= LONGEST_FILE_NAME:
        return name
    end = os.fsencode(name)[-(LONGEST_FILE_NAME - 9) :].decode(errors="ignore")
    return f"{hashlib.sha256(os.fsencode(value)).hexdigest()[:8]}-{end.strip('. ')}"


def same(value: str) -> str:
    """Normalise spaces and capital letters, which do not distinguish two names."""
    return " ".join(value.casefold().split())


def distinct(values: Sequence[str]) -> Sequence[str]:
    """Return the list if its names differ.

    Raises:
        ValueError: it names something twice, see `same`.
    """
    seen: set[str] = set()
    for value in values:
        if same(value) in seen:
            raise ValueError(f"it has {value} twice; remove one of them")
        seen.add(same(value))
    return values


def names(value: str) -> tuple[str, ...]:
    """Split a comma-separated option into names.

    Raises:
        ValueError: one of them is empty or there twice.
    """
    found = [name.strip() for name in value.split(",")]
    if not all(found):
        raise ValueError("it has an empty name; write names with one comma between them")
    distinct(found)
    return tuple(map(text, found))
