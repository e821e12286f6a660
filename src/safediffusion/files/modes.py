"""The permissions of files: those that the umask gives to new files, whatever the writing library prefers."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def new_mode(path: Path) -> int:
    """Return the permissions that the umask gives to a new file; `path` is created to find out."""
    path.unlink(missing_ok=True)
    path.touch()
    return stat.S_IMODE(path.stat().st_mode)


def set_mode(path: Path, mode: int) -> None:
    """Change permissions where they differ; files of safetensors 0.8 are readable by the owner only."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def common_modes(folder: Path) -> None:
    """Give all files below a folder the permissions that the umask gives to new files."""
    probe = folder / f".mode.{os.getpid()}.tmp"
    try:
        mode = new_mode(probe)
        for path in folder.rglob("*"):
            if path.is_file():
                set_mode(path, mode)
    finally:
        probe.unlink(missing_ok=True)
