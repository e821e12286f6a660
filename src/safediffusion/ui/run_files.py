"""The files of a run that goes on, read again only where they changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from safediffusion.files.checked import fitting, parsed
from safediffusion.files.contents import Metrics

Value = TypeVar("Value")
Stamp = tuple[int, int, int]
MOST = 200  # values that are kept


def stamp(path: Path) -> Stamp | None:
    """What changes with a file's content: its number, time and size; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Kept:
    """What functions made of files, until these change."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = Lock()

    def __call__(self, make: Callable[..., Value], path: Path, *more: Any) -> Value:
        """What `make` returns for a file and perhaps more; its errors are not kept."""
        key = (make, path, more, stamp(path))
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(path, *more)
        with self._lock:
            self._values[key] = value
            if len(self._values) > MOST:
                self._values.popitem(last=False)
        return value


class Rows:
    """The rows of one metrics.jsonl, which grows by lines at its end.

    Attributes:
        rows: complete lines so far that can be read.
        damaged: number of the others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.damaged = self._read = self._number = 0

    def update(self) -> list[dict[str, Any]]:
        """Read what was added; a file that was replaced, as a resumed run does, is read anew."""
        with self._lock:
            found = stamp(self.path)
            number, _, size = found or (0, 0, 0)
            if number != self._number or size < self._read:
                self._begin()
                self._number = number
            if size > self._read:
                with self.path.open("rb") as file:
                    file.seek(self._read)
                    added = file.read(size - self._read)
                whole = added[: added.rfind(b"\n") + 1]
                self._read += len(whole)
                self._add(whole)
            return list(self.rows)

    def _add(self, lines: bytes) -> None:
        for line in filter(bytes.strip, lines.split(b"\n")):
            try:
                self.rows.append(fitting(parsed(line), Metrics))
            except ValueError:
                self.damaged += 1
