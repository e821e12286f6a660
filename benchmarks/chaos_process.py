"""Runs a command in a forked process and disturbs it: killed at a file operation or after a time, or on a
disk that is full. A fork, because the libraries are then imported once and not for every case.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from safediffusion.cli import entry
from safediffusion.files.atomic import write_text
from safediffusion.report import plots

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
NEW_USER, NEW_MOUNT, REMOUNT = 0x10000000, 0x00020000, 32  # of Linux's unshare and mount

USED = (
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    *(f"safediffusion.{name}" for name in ("publish.export", "cli.evaluate", "cli.sample", "cli.compare")),
    *(f"safediffusion.{name}" for name in ("run.train", "training.trainer", "report.report")),
    *(f"safediffusion.evaluation.{name}" for name in ("runner", "tables.method_table")),
)

Disturb = Callable[[], None]


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code (minus the signal, if one killed it) and what it printed."""

    code: int
    text: str

    @property
    def errors(self) -> list[str]:
        """Its error lines."""
        return [line for line in self.text.replace("\r", "\n").splitlines() if line.startswith("Error: ")]

    @property
    def raw(self) -> bool:
        """Whether Python shows: a traceback, or an error that nobody foresaw."""
        return any(sign in self.text for sign in ("Traceback", "-v shows where", "Logging error"))

    @property
    def clear(self) -> bool:
        """Whether it ended well, or with exactly one line that says what is wrong."""
        return not self.raw and (self.code == 0 or (self.code in (1, 2) and len(self.errors) == 1))


class Running:
    """A command that was started in a process of its own."""

    def __init__(self, words: Sequence[str], folder: Path, disturb: Disturb | None = None) -> None:
        self.output = folder / f".output-{time.monotonic_ns()}"
        self.pid = os.fork()
        if self.pid == 0:
            _become(words, folder, self.output, disturb)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Done:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        text = self.output.read_text(errors="replace", encoding="utf-8")
        self.output.unlink()
        return Done(os.waitstatus_to_exitcode(status), text)


def command(words: Sequence[str], folder: Path, disturb: Disturb | None = None) -> Done:
    """Run `safediffusion WORDS` in a folder and wait for it."""
    return Running(words, folder, disturb).wait()


def _become(words: Sequence[str], folder: Path, output: Path, disturb: Disturb | None) -> None:
    code = 99
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
        os.chdir(folder)
        sys.argv = ["safediffusion", *words]
        if disturb:
            disturb()
        entry.run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def file_operations(root: Path, act: Callable[[int, Path], None]) -> None:
    """Call `act` with the number and the path of every file operation below a folder, before it happens."""
    count, inside = 0, False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count, inside
        if inside or not arguments or not isinstance(arguments[0], str | os.PathLike):
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        path = Path(os.path.abspath(arguments[0])) if writes or event in CHANGES else None
        if path and path.is_relative_to(root):
            inside, count = True, count + 1
            act(count, path)
            inside = False

    sys.addaudithook(hook)


def kill_at(root: Path, number: int) -> Disturb:
    """Kill the process before the file operation of this number."""

    def act(count: int, path: Path) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: file_operations(root, act)


def kill_when(root: Path, text: str) -> Disturb:
    """Kill the process before the first file operation on a path that holds this text."""

    def act(count: int, path: Path) -> None:
        if text in str(path):
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: file_operations(root, act)


def counted(root: Path, record: Path) -> Disturb:
    """Note how many file operations there are."""
    return lambda: file_operations(root, lambda count, path: note(record, count))


def note(record: Path, count: int) -> None:
    """Write a number."""
    record.write_text(str(count), encoding="utf-8")


def preload(draw: bool) -> None:
    """Import what commands use; without `draw`, reports hold empty plots."""
    for name in USED:
        import_module(name)
    gc.freeze()  # or every fork would look through the libraries for garbage
    entry.quiet()
    if not draw:
        plots.svg = lambda figure: "<svg></svg>"
        plots.save_png = lambda figure, path: write_text(path, "no picture")


def disk(folder: Path, size: int) -> None:
    """A disk of `size` bytes at `folder` that only this process and its children see; Linux.

    Raises:
        OSError: this system does not allow it.
    """
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(NEW_USER | NEW_MOUNT):
        raise OSError(ctypes.get_errno(), "unshare is not allowed")
    Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="utf-8")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="utf-8")
    _mount(libc, folder, 0, size)


def resize(folder: Path, size: int) -> None:
    """Give that disk another size; 0 is no limit."""
    _mount(ctypes.CDLL(None, use_errno=True), folder, REMOUNT, size)


def _mount(libc: ctypes.CDLL, folder: Path, flags: int, size: int) -> None:
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount a disk at {folder}")
