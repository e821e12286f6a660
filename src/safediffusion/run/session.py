"""Opening a run folder: is it ours, is it free, and what is noted when work on it begins."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from safediffusion.config import RunConfig, diff, dump, load_run_config
from safediffusion.errors import Damaged, RunError, Terminated, UserError
from safediffusion.files.atomic import FULL, explain, write_text
from safediffusion.files.checked import is_whole, read_optional, write_checked
from safediffusion.files.contents import Results, Summary
from safediffusion.files.folder_lock import LOCK, locked
from safediffusion.files.hashes import RESTORE, check_sums, sealed
from safediffusion.files.leftovers import TEMPORARY, sweep_below
from safediffusion.files.links import refuse_links_out
from safediffusion.files.run_folder import RunFolder
from safediffusion.system import distributed
from safediffusion.system.device import environment
from safediffusion.system.signals import handling, stop
from safediffusion.text.terminal import PlainFormatter

CONFIG, ENV = "config.yaml", "env.json"

log = logging.getLogger(__name__)


def choose_folder(config: RunConfig, root: Path, fresh: bool) -> RunFolder:
    """The folder to run in; one that holds something else is refused, nothing of others is ever deleted."""
    if fresh:
        return RunFolder(next(path for path in numbered(root) if not path.exists()))
    folder = RunFolder(root)
    check_free(folder, config)
    return folder


def check_free(folder: RunFolder, config: RunConfig) -> None:
    """Refuse a folder that holds a run with other settings, or anything that is not a run."""
    root = folder.root
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; choose a folder with --out")
    if root.exists():
        refuse_links_out(root)
    if not folder.config.exists():
        if folder.checkpoints.is_dir() and (root / LOCK).exists():
            raise Damaged(folder.config, "it is missing", RESTORE)
        if root.exists() and not all(map(is_beginning, root.iterdir())):
            raise UserError(f"{root} is not empty and holds no run; choose another folder with --out")
        return
    if different := diff(load_run_config(folder.config), config):
        raise UserError(
            f"{root} holds a run with other settings ({', '.join(different)}); "
            "use --fresh for a new folder, or choose one with --out"
        )


def is_beginning(path: Path) -> bool:
    """Whether a file is what a run killed in its first moments leaves, before its config.yaml."""
    left = TEMPORARY.fullmatch(path.name)
    if left and left["name"] in (CONFIG, ENV):
        return True
    return path.name == LOCK or (path.name == ENV and "safediffusion" in read_optional(path))


def numbered(root: Path) -> Iterator[Path]:
    """root, root-2, root-3, ..."""
    yield root
    number = 2
    while True:
        yield root.with_name(f"{root.name}-{number}")
        number += 1


def open_run(root: Path) -> RunFolder:
    """An existing run folder."""
    if not RunFolder(root).config.is_file():
        raise UserError(f"{root} is no run folder: it has no config.yaml; give a folder that train wrote")
    refuse_links_out(root)
    return RunFolder(root)


def is_finished(folder: RunFolder) -> bool:
    """Whether the run came to its end, and what it ended with is still as it was written."""
    if not folder.report.exists() or not is_whole(folder.summary, Summary) or not has_whole_model(folder):
        return False
    judged = [path for when in ("before", "after") for path in folder.eval_path(when).glob("*/")]
    return all(is_whole(path / "results.json", Results) for path in judged)


def has_whole_model(folder: RunFolder) -> bool:
    """Whether model/ is as it was written; says so where it is damaged."""
    if not folder.model.is_dir():
        return False
    try:
        check_sums(folder.model)
    except Damaged as error:
        log.warning("%s is damaged (%s) and is made again", error.path, error.why)
        return False
    return True


def claim(folder: RunFolder, config: RunConfig) -> None:
    """Make the folder this run's: config.yaml, written in one act, says whose it is."""
    if not folder.config.exists():
        write_text(folder.config, sealed(dump(config)))


def note_environment(folder: RunFolder) -> None:
    """Record where the run began; a record that is missing or damaged is made again."""
    if not is_whole(folder.env):
        write_checked(folder.env, environment())


@contextmanager
def claimed(folder: RunFolder, config: RunConfig) -> Iterator[None]:
    """Inside, the folder is this run's; of several processes the main one holds it."""
    if not distributed.is_main():
        yield
        return
    with locked(folder.root):
        check_free(folder, config)  # another process may have been faster
        claim(folder, config)
        with log_file(folder.log):
            sweep_below(folder.root)
            note_environment(folder)
            yield


@contextmanager
def resumable(folder: RunFolder) -> Iterator[None]:
    """Tell who presses Ctrl-C or sends SIGTERM how to go on."""
    try:
        with handling([signal.SIGTERM], stop):
            yield
    except (KeyboardInterrupt, Terminated):
        log.warning("stopped; the same command goes on from here (%s)", folder.root)
        raise


@contextmanager
def failures(folder: RunFolder) -> Iterator[None]:
    """Say a full disk, a missing permission or too little memory in one line, whoever ran into it."""
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
def noted(folder: RunFolder) -> Iterator[None]:
    """Inside, what is said about a run that exists already stands in its log too."""
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
