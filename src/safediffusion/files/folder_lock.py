"""One command per folder, on every system; the operating system drops the lock when its process ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from safediffusion.errors import UserError
from safediffusion.files.atomic import explain
from safediffusion.system.launched import launched_rank

LOCK = ".lock"


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


def holder(root: Path) -> str:
    """Return the lock's holder as ` (123 on machine)`, or an empty text where that cannot be read."""
    try:
        name = (root / LOCK).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({name[:100]})" if name else ""
