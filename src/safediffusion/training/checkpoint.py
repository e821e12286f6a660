"""Checkpoints: everything that (config, round) does not determine; each is written whole or not at all."""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from safediffusion.errors import Damaged, RunError
from safediffusion.files.atomic import copy_folder, replacing_folder, write_tensors
from safediffusion.files.checked import FILES, read_json, write_checked
from safediffusion.files.checked import read_tensors as read_file
from safediffusion.files.contents import State
from safediffusion.files.hashes import check_files, sha256
from safediffusion.files.leftovers import remove

HEALTHY, BEST = "healthy", "best"
STATE = "state.json"
ASIDE = ".damaged"  # ending of a checkpoint that was damaged and is no longer used
Tensors = dict[str, dict[str, Tensor]]

log = logging.getLogger(__name__)


def save(root: Path, step: int, tensors: Tensors, state: dict[str, Any], keep: int) -> Path:
    """Write step_XXXXXX and remove old checkpoints; where writing fails, the previous one is still there.

    Args:
        root: the checkpoints folder.
        step: rounds that are done.
        tensors: by file name and tensor name.
        state: JSON. `healthy` marks a checkpoint that is kept although newer, suspicious ones exist; `score`
            (None: not measured) decides which checkpoint is kept as the best.
        keep: how many checkpoints stay.
    """
    final = root / f"step_{step:06d}"
    with replacing_folder(final) as folder:
        files = [folder / f"{name}.safetensors" for name in tensors]
        for file, group in zip(files, tensors.values(), strict=True):
            write_tensors(file, group)
        write_checked(folder / STATE, {"step": step, **state}, files)
    prune(root, keep)
    return final


def saved(root: Path) -> list[Path]:
    """Checkpoints by step, oldest first."""
    return sorted(path for path in root.glob("step_*") if re.fullmatch(r"step_\d+", path.name))


def latest(root: Path) -> Path | None:
    """The newest checkpoint."""
    return next(reversed(saved(root)), None)


def read_state(path: Path) -> dict[str, Any]:
    """state.json of a checkpoint."""
    return read_json(path / STATE, State)


def read_tensors(path: Path) -> Tensors:
    """The tensors of a checkpoint by file name and tensor name, on the CPU."""
    return {file.stem: read_file(file) for file in sorted(path.glob("*.safetensors"))}


def check(path: Path) -> None:
    """Compare a checkpoint with the hashes in its state; one without hashes must be readable.

    Raises:
        Damaged: names the first file that is missing or differs from what was written.
    """
    state = read_state(path)
    if FILES in state:
        check_files(path, state[FILES])
    else:
        read_tensors(path)
        log.warning("%s was written without hashes, so its content is not checked", path)


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is complete and unchanged."""
    try:
        check(path)
    except Damaged:
        return False
    return True


def newest_whole(root: Path) -> Path | None:
    """The newest undamaged checkpoint; newer, damaged ones are renamed, with a warning.

    Returns:
        None where there is no checkpoint.

    Raises:
        RunError: there are checkpoints, and all are damaged.
    """
    damaged: list[Damaged] = []
    for path in reversed(_by_step(root)):
        try:
            check(path)
        except Damaged as error:
            damaged.append(error)
            continue
        for error in damaged:
            _put_aside(Path(error.path).parent, error, path)
        return path
    if damaged:
        raise RunError(
            f"no checkpoint in {root} is whole ({damaged[0].path}: {damaged[0].why}); remove that folder to "
            "train from the first round again"
        )
    return None


def _by_step(root: Path) -> list[Path]:
    """All checkpoints, the copies too, oldest first."""
    copies = {path: _state(path).get("step", -1) for path in (root / HEALTHY, root / BEST) if path.exists()}
    steps = {path: int(path.name.removeprefix("step_")) for path in saved(root)}
    return sorted(copies | steps, key=(copies | steps).__getitem__)


def _put_aside(path: Path, error: Damaged, used: Path) -> None:
    log.warning("%s is damaged (%s); going on from %s", error.path, error.why, used.name)
    if path in saved(path.parent):
        aside = path.with_name(f"{path.name}{ASIDE}")
        remove(aside)
        os.replace(path, aside)


def keep_healthy(root: Path) -> Path | None:
    """Copy the newest healthy checkpoint to `healthy`, once; returns where it is."""
    target = root / HEALTHY
    if not target.exists():
        healthy = (path for path in reversed(saved(root)) if _state(path).get("healthy"))
        if source := next(filter(is_whole, healthy), None):
            copy_folder(source, target)
    return target if target.exists() else None


def keep_best(root: Path, path: Path) -> None:
    """Copy a checkpoint to `best` if its score is higher than that of the one kept there."""
    score, kept = read_state(path).get("score"), root / BEST
    if path != kept and score is not None and (not kept.exists() or score > read_state(kept)["score"]):
        copy_folder(path, kept)


def mend_copies(root: Path) -> None:
    """Copy `best` and `healthy` again where they are damaged and the checkpoint they came from still exists.

    Raises:
        Damaged: there is no checkpoint left to copy from.
    """
    for target in (root / BEST, root / HEALTHY):
        if target.exists():
            try:
                check(target)
            except Damaged as error:
                _mend(root, target, error)


def _mend(root: Path, target: Path, error: Damaged) -> None:
    twins = (path for path in saved(root) if _same(path, target) and is_whole(path))
    if (source := next(twins, None)) is None:
        advice = f"no copy of it is left; remove {target} to go on without it, or start over with --fresh"
        raise Damaged(error.path, error.why, advice) from error
    copy_folder(source, target)
    log.warning("%s is damaged (%s); it was copied from %s again", error.path, error.why, source.name)


def _same(path: Path, copy: Path) -> bool:
    """Whether a damaged copy was made from this checkpoint: no other round has these weights or moments."""
    names = {"weights.safetensors", "optimizer.safetensors"}
    known = _state(path).get(FILES, {})
    return any(known[n] == sha256(copy / n) for n in names & known.keys() if (copy / n).is_file())


def _state(path: Path) -> dict[str, Any]:
    """state.json, empty where it cannot be read."""
    try:
        return read_state(path)
    except Damaged:
        return {}


def prune(root: Path, keep: int) -> None:
    """Remove all checkpoints except the last `keep` and the newest healthy one."""
    healthy = [path for path in saved(root) if _state(path).get("healthy")]
    survivors = {*saved(root)[-keep:], *healthy[-1:]}
    for path in saved(root):
        if path not in survivors:
            shutil.rmtree(path)
