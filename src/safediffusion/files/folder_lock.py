"""One command per folder, on every system; the operating system drops the lock when its process ends."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from safediffusion.errors import UserError
from safediffusion.files.atomic import explain
from safediffusion.system.launched import launched_rank

LOCK = ".lock"
CLOCKS = 2.0  # seconds by which a file's time and a process' start may be apart


@contextmanager
def locked(root: Path, shared: bool = False) -> Iterator[None]:
    """Keep a second command out of a folder.

    Args:
        root: the folder, made if it is missing.
        shared: several processes of one command work there together; rank 0 holds the lock.

    Raises:
        UserError: another command works there, or the folder cannot be written to.
    """
    if shared and launched_rank() > 0:
        yield
        return
    lock = FileLock(root / LOCK, timeout=0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"another process{holder(root)} works in {root}; wait for it, or choose another folder"
        ) from error
    except OSError as error:
        raise explain(error, root) from error
    try:
        with suppress(
            OSError
        ):  # Windows refuses to write a locked file; `holder` cannot read it there either
            (root / LOCK).write_text(f"{os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        lock.release()


def working(root: Path) -> psutil.Process | None:
    """The process of this machine that works in a folder; None where nobody does, or somebody elsewhere.

    The file is read and the lock left alone, because a command that starts at this moment would be refused.
    Only where the process that the file names may have let go (a notebook goes on after its run) it is tried.
    """
    found = re.fullmatch(r"(\d{1,9}) on (.+)", holder(root).strip(" ()"))
    if not found or found[2] != platform.node():
        return None
    with suppress(psutil.Error, OSError):
        process = psutil.Process(int(found[1]))
        if not is_alive(process) or process.create_time() > (root / LOCK).stat().st_mtime + CLOCKS:
            return None
        if is_train_command(process) or not is_free(root):
            return process
    return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def is_train_command(process: psutil.Process) -> bool:
    """Whether a process is `safediffusion train`, which ends when it lets go of its folder."""
    words = process.cmdline()
    return "train" in words and any(Path(word).name == "safediffusion" for word in words[:6])


def is_free(root: Path) -> bool:
    """Whether the lock of a folder can be taken."""
    try:
        with FileLock(root / LOCK, timeout=0):
            return True
    except Timeout:
        return False


def holder(root: Path) -> str:
    """Return the lock's holder as ` (123 on machine)`, or an empty text where that cannot be read."""
    try:
        name = (root / LOCK).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({name[:100]})" if name else ""
