"""The run folder: its paths, atomic writers for everything in it, and the environment it ran in.

Every file is written to a temporary name and renamed, so a killed process leaves nothing half-written.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import RunError, UserError
from .leftovers import older, remove, restore, sweep_beside, temporary
from .paths import PICTURES, refuse_special

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: OSError, path: Path | str) -> UserError | RunError:
    """The error a user sees for a failed write: a full disk fails the run, anything else is usage."""
    if error.errno in FULL:
        return RunError(f"no space left while writing {path}; free some space and run the same command again")
    reason = (error.strerror or str(error)).lower()
    return UserError(f"cannot write {path}: {reason}; choose a folder you may write to with --out")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` once the block succeeded.

    The file gets the mode that any new file gets here, whatever the library that wrote it prefers.
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
        if error.errno is None:  # a library's own, and not about writing
            raise
        raise explain(error, path) from error
    finally:
        remove(partial)  # gone after the rename, or never there


@contextmanager
def replacing_folder(path: Path, over: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes that name, complete, once the block succeeded.

    Args:
        path: where the folder is to appear.
        over: whether it may take the place of an older one.
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
        if path.exists():
            os.replace(path, older(path))
        os.replace(partial, path)
        remove(older(path))
    except OSError as error:
        if error.errno is None:  # a library's own, and not about writing
            raise
        raise explain(error, path) from error
    finally:
        remove(partial)


def sync(path: Path) -> None:
    """Bring a file's content to the disk: a crash of the machine must not leave a name without it."""
    if path.is_file():
        with path.open("rb+" if sys.platform == "win32" else "rb") as file:  # Windows: writable ones
            os.fsync(file.fileno())


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


def write_text(path: Path, text: str) -> None:
    """Write text atomically, creating the folder."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(nulled(value), indent=2, allow_nan=False) + "\n")


def nulled(value: Any) -> Any:
    """The value with null for every number that is not finite: JSON knows no such numbers."""
    if isinstance(value, dict):
        return {k: nulled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [nulled(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_image(path: Path, image: Image) -> None:
    """Write a picture atomically, in the format that its ending names, else as PNG."""
    kind = PICTURES.get(path.suffix.lower(), "PNG")
    finest: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    with replacing(path) as temporary:
        image.save(temporary, format=kind, **finest)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write safetensors atomically; tensors must be contiguous and must not share memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata)
        except SafetensorError as error:  # safetensors hides the errno of a failed write in its text
            raise RunError(f"could not write {path}: {error}") from error


def append_jsonl(path: Path, value: Any) -> None:
    """Append one JSON object as a line, like `write_json`; a killed process's torn last line is cut off."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            _cut_torn_line(file)
            file.write(json.dumps(nulled(value), allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise explain(error, path) from error


def _cut_torn_line(file: BinaryIO) -> None:
    if file.tell() == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what; knows names only, reads and writes nothing."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def env(self) -> Path:
        return self.root / "env.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def anchors(self) -> Path:
        return self.root / "anchors.json"

    @property
    def prompts(self) -> Path:
        return self.root / "prompts.json"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def eval(self, *parts: str) -> Path:
        """A place under eval/, for example eval("before", "world-i2p") or eval("during.jsonl")."""
        return self.root.joinpath("eval", *parts)


def pick_device() -> str:
    """The best device of this machine: cuda, mps or cpu; each of several processes has a GPU of its own."""
    import torch

    if torch.cuda.is_available():
        if "LOCAL_RANK" in os.environ:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: str) -> str:
    """A readable name of the device, for example "NVIDIA H100" or "cpu, AVX2, 2 threads"."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    instructions = f", {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else ""
    threads = torch.get_num_threads()
    return f"{device}{instructions}, {threads} thread{'s' if threads > 1 else ''}"


def git_commit() -> str | None:
    """The commit of the checkout this package runs from, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def environment() -> dict[str, Any]:
    """Versions, machine and device: what a reader needs to judge or repeat a result."""
    from importlib.metadata import version

    import torch

    from . import __version__

    names = ("torch", "diffusers", "transformers", "peft", "accelerate", "numpy")
    return {
        "safediffusion": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device_name(pick_device()),
        "git_commit": git_commit(),
        **{name: version(name) for name in names},
    }
