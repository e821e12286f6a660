"""The run folder: its paths, atomic writers for everything in it, and the environment it ran in.

Every file is written to a temporary name and renamed, so a killed process leaves nothing half-written.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safediffusion.errors import RunError, UserError
from safediffusion.files.leftovers import older, remove, restore, sweep_beside, temporary
from safediffusion.files.modes import common_modes, new_mode, set_mode
from safediffusion.files.paths import IMAGE_FORMATS, refuse_special

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: OSError, path: Path | str) -> UserError | RunError:
    """The error a user sees for a failed write: a full disk fails the run, anything else is usage."""
    if error.errno in FULL:
        return RunError(f"no space left while writing {path}; free some space and run the same command again")
    reason = (error.strerror or str(error)).lower()
    return UserError(f"cannot write {path}: {reason}; choose a folder you may write to with --out")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` once the block succeeded.

    The file gets the mode that any new file gets here, whatever the library that wrote it prefers.
    """
    refuse_special(path)
    partial = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_beside(path)
        mode = new_mode(partial)
        yield partial
        set_mode(partial, mode)
        sync(partial)
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:  # a library's own, and not about writing
            raise
        raise explain(error, path) from error
    finally:
        remove(partial)  # gone after the rename, or never there


@contextmanager
def replacing_folder(path: Path, over: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes that name, complete, once the block succeeded.

    Args:
        path: where the folder is to appear.
        over: whether it may take the place of an older one.
    """
    partial = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_beside(path)
        restore(path)
        remove(partial)
        partial.mkdir()
        yield partial
        common_modes(partial)
        for file in partial.rglob("*"):
            sync(file)
        if path.exists() and not over:
            raise UserError(f"{path} exists already; choose another name with --out")
        if path.exists():
            os.replace(path, older(path))
        os.replace(partial, path)
        remove(older(path))
    except OSError as error:
        if error.errno is None:  # a library's own, and not about writing
            raise
        raise explain(error, path) from error
    finally:
        remove(partial)


def sync(path: Path) -> None:
    """Bring a file's content to the disk: a crash of the machine must not leave a name without it."""
    if path.is_file():
        with path.open("rb+" if sys.platform == "win32" else "rb") as file:  # Windows: writable ones
            os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write text atomically, creating the folder."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(nulled(value), indent=2, allow_nan=False) + "\n")


def nulled(value: Any) -> Any:
    """The value with null for every number that is not finite: JSON knows no such numbers."""
    if isinstance(value, dict):
        return {k: nulled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [nulled(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_image(path: Path, image: Image) -> None:
    """Write a picture atomically, in the format that its ending names, else as PNG."""
    kind = IMAGE_FORMATS.get(path.suffix.lower(), "PNG")
    finest: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    with replacing(path) as temporary:
        image.save(temporary, format=kind, **finest)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write safetensors atomically; tensors must be contiguous and must not share memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata)
        except SafetensorError as error:  # safetensors hides the errno of a failed write in its text
            raise RunError(f"could not write {path}: {error}") from error
