"""`safediffusion doctor`: is this machine ready, and if not, what is in the way?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safediffusion.config import load_config
from safediffusion.run.machine import disk_line, free_bytes, preset_words
from safediffusion.run.plan import brief, preview
from safediffusion.system.browser import NAMES, find_chromium
from safediffusion.system.device import device_memory, driver, environment, pick_device, precisions
from safediffusion.text.first_line import first_line

GIB = 2**30
NEEDED_DISK_GIB = 1.0
TOO_LARGE = "lower train.micro_batch and rollout.batch_size, or set train.recompute=true or a lora_rank"
NETWORKS = ("pipeline", "reward", "observer", "harm-judge", "parts-judge")


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    ok: bool
    detail: str


def examine(recipe: str | None = None) -> list[Check]:
    """All checks, in the order in which a first run needs them, and whether a recipe's needs are met.

    Raises:
        UserError: the recipe cannot be planned.
    """
    env = environment()
    versions = ", ".join(f"{name} {env[name]}" for name in ("torch", "diffusers", "transformers"))
    return [
        Check("python", True, f"{env['python']} on {env['platform']}"),
        Check("packages", True, versions),
        _device(env),
        _torchvision(),
        _world(),
        _disk(Path.cwd()),
        *_page(),
        *(_needs(recipe, Path.cwd()) if recipe else ()),
    ]


def report_json(checks: list[Check]) -> dict[str, object]:
    """The report as JSON: overall verdict, checks, environment."""
    return {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        "env": environment(),
    }


def _device(env: dict[str, Any]) -> Check:
    device = pick_device()
    parts = [
        str(env["device"]),
        f"{device_memory(device) / GIB:.1f} GiB of memory",
        f"computes in {', '.join(precisions(device))}",
        *filter(None, [driver(device)]),
        f"{env['cpu_count']} CPU cores",
    ]
    return Check("device", True, "; ".join(parts))


def _needs(recipe: str, folder: Path) -> Iterator[Check]:
    """Whether a run of the recipe fits this machine."""
    config = load_config(recipe)
    plan, device = preview(config), pick_device()
    peak, has = plan.memory.peak / GIB, device_memory(device) / GIB
    fits = plan.memory.fits(device_memory(device))
    hint = "" if fits else f"; {TOO_LARGE}"
    detail = f"{config.recipe} needs {brief(peak)} GiB of {has:.1f} GiB, estimated{hint}"
    yield Check("memory", fits, detail + preset_words(plan, device_memory(device)))
    yield Check("run folder", plan.disk <= free_bytes(folder), f"{config.recipe}: {disk_line(plan, folder)}")
    dtype, native = config.model.dtype, precisions(device)
    if dtype not in ("auto", *native):
        yield Check("precision", False, f"model.dtype={dtype} is slow here; set auto or {native[-1]}")


def _torchvision() -> Check:
    """Check torchvision: if it is installed but broken, transformers' CLIP and diffusers fail to import."""
    if find_spec("torchvision") is None:
        return Check("torchvision", True, "not installed, not needed")
    try:
        module = import_module("torchvision")
    except Exception as error:  # a mismatched binary may raise anything
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


def _page() -> Iterator[Check]:
    """Whether `safediffusion ui` can run here, and whether its tests can."""
    try:
        yield Check("gradio", True, f"{version('gradio')}, for safediffusion ui")
    except PackageNotFoundError:
        yield Check("gradio", True, "not installed; safediffusion ui needs pip install 'safediffusion[ui]'")
    found = find_chromium() or f"not found under {', '.join(NAMES)}"
    yield Check("chromium", True, f"{found}; only tests of pages need it")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / GIB
    if not os.access(folder, os.W_OK):
        return Check("disk", False, f"{folder} is not writable; change folder or use --out")
    return Check("disk", free > NEEDED_DISK_GIB, f"{free:.1f} GiB free in {folder}")
