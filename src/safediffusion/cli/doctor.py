"""`safediffusion doctor`: is this machine ready, and if not, what is in the way?"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from safediffusion.system.device import environment
from safediffusion.text.first_line import first_line

NEEDED_DISK_GIB = 1.0
NETWORKS = ("pipeline", "reward", "observer", "harm-judge", "parts-judge")


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    ok: bool
    detail: str


def examine() -> list[Check]:
    """Every check, in the order a first run would meet them."""
    env = environment()
    versions = ", ".join(f"{name} {env[name]}" for name in ("torch", "diffusers", "transformers"))
    return [
        Check("python", True, f"{env['python']} on {env['platform']}"),
        Check("packages", True, versions),
        Check("device", True, f"{env['device']}; {env['cpu_count']} CPU cores"),
        _torchvision(),
        _world(),
        _disk(Path.cwd()),
    ]


def report_json(checks: list[Check]) -> dict[str, object]:
    """The report for programs: overall verdict, checks, environment."""
    return {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        "env": environment(),
    }


def _torchvision() -> Check:
    """An importable but broken torchvision takes transformers' CLIP and diffusers' pipelines down with it."""
    if find_spec("torchvision") is None:
        return Check("torchvision", True, "not installed, not needed")
    try:
        module = import_module("torchvision")
    except Exception as error:  # whatever a mismatched binary raises is the finding
        return Check(
            "torchvision", False, f"is broken ({first_line(error)}); run `pip uninstall torchvision`"
        )
    return Check("torchvision", True, f"{module.__version__}, not needed")


def _world() -> Check:
    from safediffusion.world import asset

    missing = [name for name in NETWORKS if not asset(name).is_dir()]
    if missing:
        return Check("world", False, f"lacks {', '.join(missing)}; run `safediffusion world build`")
    size = sum(file.stat().st_size for name in NETWORKS for file in asset(name).rglob("*") if file.is_file())
    return Check("world", True, f"embedded model found, {size / 2**20:.0f} MiB")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        return Check("disk", False, f"{folder} is not writable; change folder or use --out")
    return Check("disk", free > NEEDED_DISK_GIB, f"{free:.1f} GiB free in {folder}")
