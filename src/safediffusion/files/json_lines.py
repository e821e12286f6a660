"""JSONL files, one JSON object per line.

They grow by appending, so they carry no checksum, and a killed process may leave half a line at their end.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from safediffusion.errors import Damaged
from safediffusion.files.atomic import explain, nulled
from safediffusion.files.checked import Shape, fitting, parsed
from safediffusion.files.hashes import unreadable

log = logging.getLogger(__name__)


def append_jsonl(path: Path, value: Any) -> None:
    """Append one JSON object as a line, after removing half a line that a killed process left."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            _cut_torn_line(file)
            file.write(json.dumps(nulled(value), allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise explain(error, path) from error


def _cut_torn_line(file: BinaryIO) -> None:
    if file.tell() == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_rows(path: Path, shape: Shape | None = None) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the complete lines of a JSONL file, numbered from 1: an object, or a text with its error.

    An incomplete last line and a missing file are not damage: a killed process leaves them.
    """
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].split(b"\n"), 1):
        if line.strip():
            try:
                yield number, fitting(parsed(line), shape)
            except ValueError as error:
                yield number, str(error).replace("line 1: ", "")


def read_jsonl(path: Path, shape: Shape | None = None) -> list[dict[str, Any]]:
    """Return all lines of a JSONL file.

    Raises:
        Damaged: the first line that is not as it was written.
    """
    rows = []
    for number, row in _rows(path, shape):
        if isinstance(row, str):
            raise Damaged(path, f"line {number}: {row}")
        rows.append(row)
    return rows


def readable_rows(path: Path, shape: Shape | None = None) -> list[dict[str, Any]]:
    """Return the lines of a JSONL file that can be read; a warning counts the others."""
    rows = dict(_rows(path, shape))
    if bad := [f"line {number}: {row}" for number, row in rows.items() if isinstance(row, str)]:
        log.warning("%s is damaged (%s); %d of %d lines are left out", path, bad[0], len(bad), len(rows))
    return [row for row in rows.values() if not isinstance(row, str)]


def _rows(path: Path, shape: Shape | None) -> list[tuple[int, dict[str, Any] | str]]:
    try:
        return list(read_rows(path, shape))
    except OSError as error:
        raise unreadable(path, error) from error
