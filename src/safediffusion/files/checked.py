"""Reading what a run wrote: whole, of the expected shape, and with the content that was written.

JSON files carry a checksum of themselves and the SHA-256 of the files that belong to them. Files without one,
written by earlier versions or by hand, are read unchecked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from safediffusion.errors import Damaged
from safediffusion.files.atomic import nulled, write_json, write_text

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

CHECKSUM, FILES = "checksum", "files"
SUMS = "SHA256SUMS"  # in a folder of many files; `sha256sum -c SHA256SUMS` checks it too
SUM = re.compile(r"([0-9a-f]{64})  (.+)")
MARK = "# checksum: "  # last line of a text file
OTHER = "its content is not what was written"
RESTORE = "restore it from a copy, or start over with --fresh"

Shape = type[BaseModel]


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> Damaged:
    """The error of a file that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    return Damaged(path, "it is missing" if missing else (error.strerror or str(error)).lower())


def write_checked(path: Path, value: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Write a JSON object with its checksum.

    Args:
        path: what to write.
        value: the object.
        files: beside `path`; their hashes are noted too.
    """
    content = {k: v for k, v in json.loads(json.dumps(nulled(value))).items() if k not in (CHECKSUM, FILES)}
    if hashes := {file.name: sha256(file) for file in files}:
        content[FILES] = hashes
    write_json(path, content | {CHECKSUM: checksum(content)})


def checksum(value: Mapping[str, Any]) -> str:
    """Hash of a JSON object, whatever its layout and the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, shape: Shape | None = None) -> dict[str, Any]:
    """A JSON object without its checksum.

    Args:
        path: what to read.
        shape: the parts that a reader relies on.

    Raises:
        Damaged: it is missing or cut, its content changed since it was written, or a part has a wrong type.
    """
    try:
        value = parsed(path.read_bytes())
        expected = value.pop(CHECKSUM, None)
        if expected is not None and expected != checksum(value):
            raise ValueError(OTHER)
        return fitting(value, shape)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise Damaged(path, str(error)) from error


def parsed(content: bytes) -> dict[str, Any]:
    """A JSON object from its bytes.

    Raises:
        ValueError: what is wrong with them.
    """
    if not content.strip():
        raise ValueError("it is empty")
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON (line {error.lineno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits, nested too deep
        raise ValueError(f"it is not JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def fitting(value: dict[str, Any], shape: Shape | None) -> dict[str, Any]:
    """The object, if it has the parts of a shape."""
    try:
        if shape:
            shape.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"`{where}`: {first['msg'].lower()}" if where else first["msg"]) from error
    return value


def is_whole(path: Path, shape: Shape | None = None) -> bool:
    """Whether a JSON file and the files it names are as they were written; says so where they are damaged."""
    if not path.exists():
        return False
    try:
        check_files(path.parent, read_json(path, shape).get(FILES, {}))
    except Damaged as error:
        log.warning("%s is damaged (%s) and is made again", error.path, error.why)
        return False
    return True


def read_optional(path: Path, shape: Shape | None = None) -> dict[str, Any]:
    """A JSON object; empty where it was never written, and with a warning where it is damaged."""
    if not path.exists():
        return {}
    try:
        return read_json(path, shape)
    except Damaged as error:
        log.warning("%s is damaged (%s) and is left out", path, error.why)
        return {}


def check_files(folder: Path, hashes: Mapping[str, str]) -> None:
    """Compare files with the hashes noted when they were written.

    Raises:
        Damaged: the first file that is missing or differs.
    """
    for name, expected in hashes.items():
        if sha256(folder / name) != expected:
            raise Damaged(folder / name, OTHER)


def read_rows(path: Path, shape: Shape | None = None) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The complete lines of a JSONL file, numbered from 1: each a JSON object, or what is wrong with it.

    A torn last line and a missing file are not damage: a killed process leaves them.
    """
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].split(b"\n"), 1):
        if line.strip():
            try:
                yield number, fitting(parsed(line), shape)
            except ValueError as error:
                yield number, str(error).replace("line 1: ", "")


def read_jsonl(path: Path, shape: Shape | None = None) -> list[dict[str, Any]]:
    """All lines of a JSONL file.

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
    """The lines of a JSONL file that can be read; a warning names those that cannot."""
    rows = dict(_rows(path, shape))
    if bad := [f"line {number}: {row}" for number, row in rows.items() if isinstance(row, str)]:
        log.warning("%s is damaged (%s); %d of %d lines are left out", path, bad[0], len(bad), len(rows))
    return [row for row in rows.values() if not isinstance(row, str)]


def _rows(path: Path, shape: Shape | None) -> list[tuple[int, dict[str, Any] | str]]:
    try:
        return list(read_rows(path, shape))
    except OSError as error:
        raise unreadable(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        Damaged: it is missing or cut, or its header cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise Damaged(path, str(error).splitlines()[0]) from error


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Inside, content that readers stumble over is called damage of `path`; for files without checksums."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise Damaged(path, f"a part is missing or wrong ({type(error).__name__}: {error})") from error


def write_sums(folder: Path) -> None:
    """Note the hashes of all files of a folder in it, in the format of `sha256sum`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    lines = (f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    write_text(folder / SUMS, "".join(lines))


def check_sums(folder: Path) -> None:
    """Compare a folder with the hashes noted in it, if there are any.

    Raises:
        Damaged: the first file that is missing or differs.
    """
    path = folder / SUMS
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    found = {match[2]: match[1] for match in map(SUM.fullmatch, text.splitlines()) if match}
    weights = {file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors")}
    if not text.endswith("\n") or len(found) < len(text.splitlines()) or not weights <= found.keys():
        raise Damaged(path, "it is not a list of hashes that names all weights")
    check_files(folder, found)


def sealed(text: str) -> str:
    """Text with its checksum as a comment in the last line."""
    return f"{text}{MARK}{hashlib.sha256(text.encode()).hexdigest()}\n"


def check_sealed(path: Path) -> None:
    """Compare a text file with the checksum in its last line, if it has one.

    Raises:
        Damaged: it differs.
    """
    if not path.is_file():
        return  # whoever reads it says so
    text = path.read_bytes().decode(errors="replace")
    content, mark, _ = text.rpartition(MARK)
    if not text.endswith("\n"):
        raise Damaged(path, "its end is missing", RESTORE)
    if mark and text != sealed(content):
        raise Damaged(path, OTHER, RESTORE)
