"""What a killed process leaves, and how the next one sweeps it.

A file or folder is written as `.NAME.PID.tmp` beside its place and renamed. A folder that takes the place of
another moves that to `.NAME.older` for the moment between two renames.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.tmp")
OLDER = re.compile(r"\.(?P<name>.+)\.older")
PARTIAL = re.compile(r"\.(step_\d+|best|healthy|model)\.partial")  # of earlier versions, inside runs only


def temporary(path: Path) -> Path:
    """Where this process writes what is to become `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def older(path: Path) -> Path:
    """Where a folder waits while a new one takes its place."""
    return path.with_name(f".{path.name}.older")


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder that is ours alone; put back what they had moved away."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if is_left(path) or PARTIAL.fullmatch(path.name):
            remove(path)
        elif (match := OLDER.fullmatch(path.name)) and path.is_dir():
            restore(folder / match["name"])


def sweep_below(root: Path) -> None:
    """The same there and in all folders below."""
    sweep(root)
    for folder in [path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()]:
        sweep(folder)


def sweep_beside(path: Path) -> None:
    """Remove what killed processes left of this file or folder; the folder around it is looked at once."""
    for left in _left(path.parent).pop(path.name, []):
        if is_left(left):
            remove(left)


@cache
def _left(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := TEMPORARY.fullmatch(path.name):
            found.setdefault(match["name"], []).append(path)
    return found


def is_left(path: Path) -> bool:
    """Whether this is a temporary file or folder of ours whose process has ended."""
    match = TEMPORARY.fullmatch(path.name)
    return match is not None and not _runs(int(match["pid"]), path)


def _runs(pid: int, path: Path) -> bool:
    """Whether the process that made a file still runs; one that began later only has its number."""
    import psutil

    try:
        return psutil.Process(pid).create_time() <= path.lstat().st_mtime + 1  # it is known to a second
    except (psutil.Error, OSError, OverflowError):
        return False


def restore(path: Path) -> None:
    """Bring back a folder that waits for a new one which never came; remove it where the new one is there."""
    waiting = older(path)
    if path.exists():
        remove(waiting)
    elif waiting.is_dir():
        with suppress(OSError):  # another process was faster
            os.replace(waiting, path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
