"""The device of this machine, its peak memory, and the environment that results record."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")  # names of x86's and ARM's instructions for it


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


def free_memory() -> None:
    """Give back what nothing refers to any more, also in reference cycles and the allocator's cache."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_memory(device: str) -> int:
    """Bytes that the device has in all; on a CPU and on Apple's chips that is memory of the machine."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    if device == "mps":
        return torch.mps.recommended_max_memory()
    import psutil

    return psutil.virtual_memory().total


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    import torch

    kind = torch.device(device).type
    if kind == "cpu":
        units = torch.cpu.get_capabilities()
        return any(units.get(name, False) for name in BFLOAT16_UNITS)
    return kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def precisions(device: str) -> list[str]:
    """The values of model.dtype that the device computes in by itself."""
    half = [] if device == "cpu" else ["fp16"]
    return ["fp32", *half, *(["bf16"] if has_bfloat16(device) else [])]


def driver(device: str) -> str | None:
    """What PyTorch was built for and, of an NVIDIA card, its driver; None for a CPU."""
    import torch

    if device == "mps":
        return f"macOS {platform.mac_ver()[0]}"
    if device != "cuda":
        return None
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        found = []
    return f"CUDA {torch.version.cuda}, driver {found[0] if found else 'unknown'}"


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
