"""A session: one process' stretch of work on a run, from claiming its folder to the messages of its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from safediffusion.config import RunConfig, dump, load_run_config, result_diff
from safediffusion.errors import Damaged, RunError, Terminated, UserError
from safediffusion.files.atomic import FULL, explain, write_text
from safediffusion.files.checked import is_whole, read_optional, write_checked
from safediffusion.files.contents import Results, Summary
from safediffusion.files.folder_lock import LOCK, locked
from safediffusion.files.hashes import RESTORE, check_sums, sealed
from safediffusion.files.leftovers import TEMPORARY, sweep_below
from safediffusion.files.links import refuse_links_out
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.stopwatch import Stopwatch
from safediffusion.system import distributed
from safediffusion.system.device import environment
from safediffusion.system.signals import handling, stop
from safediffusion.text.terminal import PlainFormatter

CONFIG, ENV = "config.yaml", "env.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What the phases of a run share.

    Attributes:
        config: the settings of the run.
        folder: the run folder, which this session holds.
        device: where the model and the rewards are.
        watch: the time and memory of all sessions of the run.
    """

    config: RunConfig
    folder: RunFolder
    device: str
    watch: Stopwatch


def run_root(config: RunConfig, out: Path | None) -> Path:
    """The folder that a run is meant for: the one that the user chose, or runs/RECIPE."""
    return out or Path("runs") / config.recipe


def choose_folder(config: RunConfig, root: Path, fresh: bool) -> RunFolder:
    """Return the folder to run in. Nothing in it is deleted.

    Args:
        config: the settings of the run.
        root: the folder that the user chose.
        fresh: take the first of ROOT, ROOT-2, ROOT-3 that does not exist.

    Raises:
        UserError: the folder holds something else than this run.
    """
    if fresh:
        return RunFolder(next(path for path in numbered(root) if not path.exists()))
    folder = RunFolder(root)
    check_free(folder, config)
    return folder


def check_free(folder: RunFolder, config: RunConfig) -> None:
    """Raise an error if the folder holds a run with another result, or anything that is not a run.

    Raises:
        UserError: for a file, for a folder with other content, or for a run with other settings that its
            result depends on.
        Damaged: the folder holds checkpoints, but no config.yaml that says which run they belong to.
    """
    root = folder.root
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; choose a folder with --out")
    if root.exists():
        refuse_links_out(root)
    if not folder.config.exists():
        if folder.checkpoints.is_dir() and (root / LOCK).exists():
            raise Damaged(folder.config, "it is missing", RESTORE)
        if root.exists() and not all(map(is_beginning, root.iterdir())):
            raise UserError(f"{root} is not empty and does not hold a run; choose another folder with --out")
        return
    if different := result_diff(load_run_config(folder.config), config):
        raise UserError(
            f"{root} holds a run with other settings ({', '.join(different)}); "
            "add --fresh for a new folder, or choose one with --out"
        )


def is_beginning(path: Path) -> bool:
    """Whether a file was written before config.yaml, by a run that was killed in its first moments.

    Such a folder is not claimed yet, so a run may still begin in it.
    """
    left = TEMPORARY.fullmatch(path.name)
    if left and left["name"] in (CONFIG, ENV):
        return True
    return path.name == LOCK or (path.name == ENV and "safediffusion" in read_optional(path))


def numbered(root: Path) -> Iterator[Path]:
    """Yield root, root-2, root-3 and so on."""
    yield root
    number = 2
    while True:
        yield root.with_name(f"{root.name}-{number}")
        number += 1


def open_run(root: Path) -> RunFolder:
    """Return an existing run folder.

    Raises:
        UserError: the folder has no config.yaml, or a link in it leads out of it.
    """
    if not RunFolder(root).config.is_file():
        raise UserError(f"{root} is not a run folder: it has no config.yaml; give a folder that train wrote")
    refuse_links_out(root)
    return RunFolder(root)


def is_finished(folder: RunFolder) -> bool:
    """Whether the run has ended, and its summary, model and evaluations are undamaged."""
    if not folder.report.exists() or not is_whole(folder.summary, Summary) or not has_whole_model(folder):
        return False
    evaluated = [path for when in ("before", "after") for path in folder.eval_path(when).glob("*/")]
    return all(is_whole(path / "results.json", Results) for path in evaluated)


def has_whole_model(folder: RunFolder) -> bool:
    """Whether model/ exists and its checksums are right; logs a warning if they are not."""
    if not folder.model.is_dir():
        return False
    try:
        check_sums(folder.model)
    except Damaged as error:
        log.warning("%s is damaged (%s) and will be written again", error.path, error.why)
        return False
    return True


def claim(folder: RunFolder, config: RunConfig) -> None:
    """Write config.yaml, which makes the folder this run's.

    The file is written atomically: after a kill at any moment the folder either belongs to the run or is
    still free. Everything else in the folder is written later.
    """
    if not folder.config.exists():
        write_text(folder.config, sealed(dump(config)))


def note_environment(folder: RunFolder) -> None:
    """Write env.json, the environment of the first session; if it is damaged, write it again."""
    if not is_whole(folder.env):
        write_checked(folder.env, environment())


@contextmanager
def claimed(folder: RunFolder, config: RunConfig) -> Iterator[None]:
    """Hold the folder for this run inside the block; only the main process of several holds it.

    The lock keeps out a second command on the same run. `choose_folder` has checked the folder before the
    lock is taken, so it is checked again: another command may have claimed the folder in between.
    """
    if not distributed.is_main():
        yield
        return
    with locked(folder.root):
        check_free(folder, config)
        claim(folder, config)
        with log_file(folder.log):
            sweep_below(folder.root)
            note_environment(folder)
            yield


@contextmanager
def resumable(folder: RunFolder) -> Iterator[None]:
    """Log how to resume the run when Ctrl-C or SIGTERM ends the block."""
    try:
        with handling([signal.SIGTERM], stop):
            yield
    except (KeyboardInterrupt, Terminated):
        log.warning("stopped; the same command resumes the run (%s)", folder.root)
        raise


@contextmanager
def explained_failures(folder: RunFolder) -> Iterator[None]:
    """Turn a full disk, a missing permission or too little memory into an error of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or isinstance(error, PermissionError):
            raise explain(error, folder.root) from error
        raise
    except torch.OutOfMemoryError as error:
        raise RunError(
            "the GPU has too little memory; set rollout.batch_size and train.micro_batch lower, "
            "or train.lora_rank=8"
        ) from error
    except SafetensorError as error:
        raise RunError(f"could not write to {folder.root}: {error}") from error


@contextmanager
def logged(folder: RunFolder) -> Iterator[None]:
    """Copy log lines to the run's log.txt inside the block, if the run exists already."""
    if distributed.is_main() and folder.log.is_file():
        with log_file(folder.log):
            yield
    else:
        yield


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Copy this package's log lines to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(PlainFormatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("safediffusion")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
