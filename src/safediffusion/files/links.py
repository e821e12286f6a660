"""Symbolic links in folders that others may have made: none may show or change a file elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from safediffusion.errors import UserError


def refuse_links_out(folder: Path) -> None:
    """Refuse a folder with a file that is a link to a place outside; a linked folder is taken as it is.

    A run is read into its report, and its log and metrics are written in place.
    """
    for path in links(folder):
        if not path.is_dir() and not inside(path, folder):
            raise refusal(path, folder)


def refuse_links(folder: Path) -> None:
    """Refuse a folder that cannot be copied safely: its links may only stand for files of its own."""
    for path in links(folder):
        if path.is_dir() or not inside(path, folder):
            raise refusal(path, folder)


def links(folder: Path) -> Iterator[Path]:
    """Yield all links below a folder; none of them is followed."""
    for parent, folders, files in os.walk(folder):
        yield from (path for name in (*folders, *files) if (path := Path(parent, name)).is_symlink())


def inside(path: Path, folder: Path) -> bool:
    """Whether a path, with links followed, lies below a folder."""
    real, top = os.path.realpath(path), os.path.realpath(folder)
    return Path(real).is_relative_to(top)


def refusal(path: Path, folder: Path) -> UserError:
    """Return the error for a link that leads out of a folder."""
    return UserError(f"{path} is a link that leads out of {folder}; put the file itself there, or remove it")
