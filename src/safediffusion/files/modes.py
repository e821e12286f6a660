"""The permissions of files: whatever a library prefers, a file gets those that the umask gives new ones."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def new_mode(path: Path) -> int:
    """The mode that the umask gives a new file; `path` is made to see it."""
    path.unlink(missing_ok=True)
    path.touch()
    return stat.S_IMODE(path.stat().st_mode)


def set_mode(path: Path, mode: int) -> None:
    """Change a file's mode where it differs; safetensors 0.8 lets nobody but the owner read its files."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def common_modes(folder: Path) -> None:
    """Give all files of a folder that other libraries wrote the mode that the umask gives new ones."""
    probe = folder / f".mode.{os.getpid()}.tmp"
    try:
        mode = new_mode(probe)
        for path in folder.rglob("*"):
            if path.is_file():
                set_mode(path, mode)
    finally:
        probe.unlink(missing_ok=True)
