"""Checkpoints: everything that is not a function of (config, step), written whole or not at all."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from safediffusion.errors import RunError
from safediffusion.runs import explain, write_json, write_tensors

HEALTHY, BEST = "healthy", "best"
Tensors = dict[str, dict[str, Tensor]]


def save(root: Path, step: int, tensors: Tensors, state: dict[str, Any], keep: int) -> Path:
    """Write step_XXXXXX and drop old ones; whatever goes wrong, the one before it is still there.

    Args:
        root: the checkpoints folder.
        step: rounds done.
        tensors: by file name and tensor name.
        state: JSON; its `healthy` marks a checkpoint that outlives newer, suspicious ones, its `score`
            (None: not measured) decides which one is kept as the best.
        keep: how many stay.
    """
    final = root / f"step_{step:06d}"
    partial = root / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, group in tensors.items():
            write_tensors(partial / f"{name}.safetensors", group)
        write_json(partial / "state.json", {"step": step, **state})
        replace_folder(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _prune(root, keep)
    return final


def replace_folder(source: Path, target: Path) -> None:
    """Rename a finished folder into place, over an older one of the same name."""
    older = target.with_name(f".{target.name}.older")
    try:
        shutil.rmtree(older, ignore_errors=True)
        if target.exists():
            os.replace(target, older)
        os.replace(source, target)
    except OSError as error:
        raise explain(error, target) from error
    shutil.rmtree(older, ignore_errors=True)


def saved(root: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in root.glob("step_*") if re.fullmatch(r"step_\d+", path.name))


def latest(root: Path) -> Path | None:
    """The newest complete checkpoint."""
    return next(reversed(saved(root)), None)


def latest_healthy(root: Path) -> Path | None:
    """The newest checkpoint saved while nothing looked suspicious."""
    return next((path for path in reversed(saved(root)) if read_state(path)["healthy"]), None)


def read_state(path: Path) -> dict[str, Any]:
    """state.json of a checkpoint."""
    return json.loads((path / "state.json").read_text(encoding="utf-8"))


def read_tensors(path: Path) -> Tensors:
    """Its tensors by file name and tensor name, on the CPU."""
    try:
        return {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    except SafetensorError as error:
        raise RunError(
            f"{path} is damaged ({error}); remove it, and the same command goes on from the one before it"
        ) from error


def keep_healthy(root: Path) -> Path | None:
    """Copy the newest healthy checkpoint to `healthy`, once; returns where it is."""
    source, target = latest_healthy(root), root / HEALTHY
    if not target.exists() and source is not None:
        _copy(source, target)
    return target if target.exists() else None


def keep_best(root: Path, path: Path) -> None:
    """Copy a checkpoint to `best` if it has a score, above that of the one kept there."""
    score, kept = read_state(path)["score"], root / BEST
    if score is not None and (not kept.exists() or score > read_state(kept)["score"]):
        _copy(path, kept)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.mkdir(exist_ok=True)
        for file in source.iterdir():
            shutil.copyfile(file, partial / file.name)
        replace_folder(partial, target)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prune(root: Path, keep: int) -> None:
    survivors = {*saved(root)[-keep:], latest_healthy(root)}
    for path in saved(root):
        if path not in survivors:
            shutil.rmtree(path)
