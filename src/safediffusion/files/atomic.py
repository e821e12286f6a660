"""Writing files and folders so that each appears complete or not at all.

Everything is written under a temporary name beside its place, brought to the disk, and renamed. A rename
within one folder is atomic on every file system in use: a reader sees the old content or the new one, and a
process killed at any moment leaves the old one and a temporary name, which the next start removes (see
`leftovers`).
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safediffusion.errors import RunError, UserError
from safediffusion.files.leftovers import older, remove, restore, sweep_beside, temporary
from safediffusion.files.modes import common_modes, new_mode, set_mode
from safediffusion.files.paths import IMAGE_FORMATS, image_format, refuse_special

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: OSError, path: Path | str) -> UserError | RunError:
    """Return the error for a failed write: a full disk fails the run, all else is wrong usage."""
    if error.errno in FULL:
        return RunError(f"no space left while writing {path}; free some space and run the same command again")
    reason = (error.strerror or str(error)).lower()
    return UserError(f"cannot write {path}: {reason}; choose a folder you may write to with --out")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block succeeds.

    The file gets the permissions that the umask gives to new files, whatever the writing library prefers.

    Raises:
        UserError: the place cannot be written to.
        RunError: the disk is full.
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
        if error.errno is None:  # a library's own error, which is not about writing
            raise
        raise explain(error, path) from error
    finally:
        remove(partial)  # only there when the block failed


@contextmanager
def replacing_folder(path: Path, over: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `path`; rename it to `path` when the block succeeds.

    Args:
        path: where the folder appears.
        over: whether it may replace an existing one.

    Raises:
        UserError: the place cannot be written to, or is taken and `over` is false.
        RunError: the disk is full.
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
        if path.exists():  # no system call replaces a folder that is not empty, so it steps aside first;
            os.replace(
                path, older(path)
            )  # `restore` brings it back if the process dies between the two renames
        os.replace(partial, path)
        remove(older(path))
    except OSError as error:
        if error.errno is None:  # a library's own error, which is not about writing
            raise
        raise explain(error, path) from error
    finally:
        remove(partial)


def copy_folder(
    source: Path, target: Path, over: bool = True, complete: Callable[[Path], None] | None = None
) -> None:
    """Copy a folder so that `target` appears complete or not at all.

    Args:
        source: the folder to copy.
        target: where the copy appears.
        over: whether it may replace an existing folder.
        complete: called with the copy before it takes its name, to add to it or to change it.
    """
    with replacing_folder(target, over) as folder:
        shutil.copytree(source, folder, copy_function=_copy_file, dirs_exist_ok=True)
        if complete:
            complete(folder)


def _copy_file(source: str, target: str) -> str:
    """Copy a file's content; copytree would collect errors and go on, so a full disk ends it here."""
    try:
        return shutil.copyfile(source, target)  # without its permissions: a new file has the umask's
    except OSError as error:
        raise explain(error, target) from error


def sync(path: Path) -> None:
    """Bring a file's content to the disk: a crash of the machine must not leave its name without content."""
    if path.is_file():
        with path.open(
            "rb+" if sys.platform == "win32" else "rb"
        ) as file:  # Windows syncs writable files only
            os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write text atomically, creating the folder."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(nulled(value), indent=2, allow_nan=False) + "\n")


def nulled(value: Any) -> Any:
    """The value with null for every number that is not finite, because JSON has no such numbers."""
    if isinstance(value, dict):
        return {k: nulled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [nulled(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_image(path: Path, image: Image) -> None:
    """Write an image atomically, in the format that its ending names, else as PNG."""
    kind = IMAGE_FORMATS.get(path.suffix.lower(), "PNG")
    finest: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    with replacing(path) as temporary:
        image.save(temporary, format=kind, **finest)


def write_figure(path: Path, figure: Figure, **options: Any) -> None:
    """Write a matplotlib figure atomically.

    Args:
        path: its ending names the format.
        figure: what to write.
        options: of `Figure.savefig`, such as dpi.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=image_format(path), **options)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write safetensors atomically; tensors must be contiguous and must not share memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata)
        except SafetensorError as error:  # safetensors hides the errno of a failed write in its text
            raise RunError(f"could not write {path}: {error}") from error
