"""JSON and tensor files that are checked when they are read: complete, of the expected shape, and unchanged.

A JSON file carries a hash of its own content, and the SHA-256 of the files that belong to it. The hash is of
the values and not of the bytes, so that other indentation or another order of keys is not damage. A file
without a hash, written by an earlier version or by hand, is read unchecked.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from safediffusion.errors import Damaged
from safediffusion.files.atomic import nulled, write_json
from safediffusion.files.hashes import OTHER, check_files, sha256, unreadable
from safediffusion.text.first_line import first_line

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

CHECKSUM, FILES = "checksum", "files"

Shape = type[BaseModel]


def write_checked(path: Path, value: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Write a JSON object with its checksum.

    Args:
        path: what to write.
        value: the object.
        files: beside `path`; their hashes are recorded too.
    """
    content = {k: v for k, v in json.loads(json.dumps(nulled(value))).items() if k not in (CHECKSUM, FILES)}
    if hashes := {file.name: sha256(file) for file in files}:
        content[FILES] = hashes
    write_json(path, content | {CHECKSUM: checksum(content)})


def checksum(value: Mapping[str, Any]) -> str:
    """Return the hash of a JSON object, which does not depend on layout and order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, shape: Shape | None = None) -> dict[str, Any]:
    """Read a JSON object and return it without its checksum.

    Args:
        path: what to read.
        shape: the keys that the reader needs, with their types.

    Raises:
        Damaged: it is missing or cut, its content changed after it was written, or a value has a wrong type.
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
    """Parse a JSON object.

    Raises:
        ValueError: says what is wrong with the bytes.
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
    """Return the object if it has the keys of a shape.

    Raises:
        ValueError: names the first key that is missing or of a wrong type.
    """
    try:
        if shape:
            shape.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"`{where}`: {first['msg'].lower()}" if where else first["msg"]) from error
    return value


def is_whole(path: Path, shape: Shape | None = None) -> bool:
    """Whether a JSON file and the files it names are as they were written; a warning says why not."""
    if not path.exists():
        return False
    try:
        check_files(path.parent, read_json(path, shape).get(FILES, {}))
    except Damaged as error:
        log.warning("%s is damaged (%s) and is made again", error.path, error.why)
        return False
    return True


def read_optional(path: Path, shape: Shape | None = None) -> dict[str, Any]:
    """Read a JSON object; an empty one if it was never written or, with a warning, if it is damaged."""
    if not path.exists():
        return {}
    try:
        return read_json(path, shape)
    except Damaged as error:
        log.warning("%s is damaged (%s) and is left out", path, error.why)
        return {}


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
        raise Damaged(path, first_line(error)) from error


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Raise errors of the block as `Damaged`: a file without a checksum fails only when it is used."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise Damaged(path, f"a part is missing or wrong ({type(error).__name__}: {error})") from error
