"""Paths of the command line, checked before any work begins; `~` is the home folder in all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safediffusion.errors import UserError
from safediffusion.text import words

# Endings of the images we write, with their formats' names in Pillow.
IMAGE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
Checked = TypeVar("Checked")


def checked(check: Callable[[str], Checked], text: str, what: str) -> Checked:
    """Return the value that `check` makes of a text.

    Raises:
        UserError: says why the text is not accepted.
    """
    try:
        return check(str(text))  # a default may be a path
    except ValueError as error:
        raise UserError(f"{what} {text[:80]!r} is not accepted: {error}") from error


def name_list(text: str) -> tuple[str, ...]:
    """Split a comma-separated option into names."""
    return checked(words.names, text, "the list")


def source(text: str) -> str:
    """Check a model, encoder or file that a command reads; it stays text, because it may be a hub id."""
    return checked(words.path_text, text, "the path")


def read_path(text: str) -> Path:
    """Check a file or folder that a command reads; `.` and `..` become paths that end in a name."""
    path = Path(source(text))
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


def out_path(text: str) -> Path:
    """Check a file or folder that a command writes.

    Raises:
        UserError: it is the root of a file system, lies below a file or a folder without write permission, or
            in a model's folder, or is neither file nor folder.
    """
    path = read_path(checked(words.text, text, "the path"))
    if not path.name:
        raise UserError(f"{text} is the root of a file system; choose a folder in it")
    refuse_special(path)
    refuse_inside_model(path)
    parent = nearest(path)
    if not parent.is_dir():
        raise UserError(f"cannot write {path}: {parent} is a file, not a folder; choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {path}: permission denied in {parent}; choose a folder you may write to"
        )
    return path


def image_path(text: str) -> Path:
    """Check an image file that a command writes; its ending names the format."""
    path = out_path(text)
    image_format(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of an image in it")
    return path


def image_format(path: Path) -> str:
    """Return Pillow's name of the format that a path's ending names.

    Raises:
        UserError: the ending is not one of an image.
    """
    if path.suffix.lower() not in IMAGE_FORMATS:
        raise UserError(f"{path} has no ending of an image; give one of these: {', '.join(IMAGE_FORMATS)}")
    return IMAGE_FORMATS[path.suffix.lower()]


def refuse_special(path: Path) -> None:
    """Refuse to replace a device, a pipe, a socket or a link that leads nowhere."""
    if os.path.lexists(path) and not path.is_file() and not path.is_dir():
        kind = "a link that leads nowhere" if path.is_symlink() and not path.exists() else "a device or pipe"
        raise UserError(f"{path} is {kind}, and is not replaced; choose another name")


def refuse_inside_model(path: Path) -> None:
    """Refuse a place inside a model's folder, because every file there is part of the model."""
    for folder in Path(os.path.realpath(path)).parents:  # Path.resolve fails on a loop of links
        if (folder / "model_index.json").is_file():
            raise UserError(f"{path} lies inside the model {folder}; choose a place outside it")


def nearest(path: Path) -> Path:
    """Return the nearest parent folder that exists."""
    return next(parent for parent in path.absolute().parents if os.path.lexists(parent))
