"""The device of this machine, its peak memory, and the environment that results record."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


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

    from safediffusion.version import __version__

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
