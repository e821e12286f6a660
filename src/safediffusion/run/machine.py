"""A plan against a machine: whether its card and its disk suffice."""

from __future__ import annotations

import shutil
from pathlib import Path

from safediffusion.run.memory import GB, GIB
from safediffusion.run.plan import Plan, as_lines, brief
from safediffusion.system.device import device_memory, device_name, pick_device

FEWER_FILES = "set train.keep_checkpoints lower, train a lora_rank, or choose another disk with --out"


def at_hand(plan: Plan, card_gb: int | None, out: Path) -> str:
    """Card and disk against a plan, one line each.

    Args:
        plan: of a run.
        card_gb: memory of a card to compare with, in GB as cards are sold; None is the GPU of this machine.
        out: the run folder, which need not exist.
    """
    return as_lines({"card at hand": card_line(plan, card_gb), "disk at hand": disk_line(plan, out)})


def card_line(plan: Plan, card_gb: int | None) -> str:
    """Whether a run fits a card, and the largest preset that does."""
    device = pick_device()
    if card_gb is None and device == "cpu":
        return "no GPU here; --card GB compares with one"
    name, size = ("as given", card_gb * GB) if card_gb else (device_name(device), device_memory(device))
    fits = "the run fits" if plan.memory.fits(size) else "the run does not fit"
    return f"{name}, {size / GB:.0f} GB: {fits}{preset_words(plan, size)}"


def preset_words(plan: Plan, size: float) -> str:
    """The largest preset that fits a card of this many bytes, in words; none for a small model."""
    if not plan.presets:
        return ""
    fitting = [name for name, memory in plan.presets.items() if memory.fits(size)]
    return f"; the largest preset that fits is {fitting[-1]}" if fitting else "; no preset fits"


def disk_line(plan: Plan, out: Path) -> str:
    """Whether the run folder fits its disk."""
    free = free_bytes(out)
    missing = "" if plan.disk <= free else f": too few; {FEWER_FILES}"
    return f"{brief(plan.disk / GIB)} GiB of {free / GIB:.1f} GiB that are free in {out}{missing}"


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not exist."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
