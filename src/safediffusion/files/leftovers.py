"""Removing what killed processes leave, without touching the files of processes that still run.

A file or folder is written as `.NAME.PID.tmp` beside its place and renamed. The name holds the process, so a
later one can see whether it still runs: two commands may write in one folder at once. A folder that replaces
another moves that one to `.NAME.older` for the moment between two renames.
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
    """Return the name under which this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def older(path: Path) -> Path:
    """Return the name of a folder while another takes its place."""
    return path.with_name(f".{path.name}.older")


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder of this package; put back what they had moved away."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if is_left(path) or PARTIAL.fullmatch(path.name):
            remove(path)
        elif (match := OLDER.fullmatch(path.name)) and path.is_dir():
            restore(folder / match["name"])


def sweep_below(root: Path) -> None:
    """Sweep a folder and all folders below it; links are not followed."""
    sweep(root)
    for folder in [path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()]:
        sweep(folder)


def sweep_beside(path: Path) -> None:
    """Remove what killed processes left of this file or folder.

    The folder around it may belong to others and hold a million files, so it is listed once per process.
    """
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
    """Whether this is a temporary file or folder of this package whose process has ended."""
    match = TEMPORARY.fullmatch(path.name)
    return match is not None and not _runs(int(match["pid"]), path)


def _runs(pid: int, path: Path) -> bool:
    """Whether the process that made a file still runs; a process that began later only reuses its number."""
    import psutil

    try:
        return (
            psutil.Process(pid).create_time() <= path.lstat().st_mtime + 1
        )  # start times are rounded to a second
    except (psutil.Error, OSError, OverflowError):
        return False


def restore(path: Path) -> None:
    """Put back a folder whose replacement was never finished; remove it where the replacement is there."""
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
