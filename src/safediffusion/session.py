"""Opening a run folder: is it ours, is it free, and what is noted when work on it begins."""

from __future__ import annotations

import fcntl
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from .config import RunConfig, diff, dump, load_run_config
from .errors import RunError, Terminated, UserError
from .links import refuse_links_out
from .runs import FULL, RunFolder, environment, explain, write_json, write_text
from .terminal import PlainFormatter
from .training import processes
from .training.process import handling, stop

log = logging.getLogger(__name__)


def choose_folder(config: RunConfig, root: Path, fresh: bool) -> RunFolder:
    """The folder to run in; one that holds something else is refused, nothing is ever deleted."""
    if fresh:
        return RunFolder(next(path for path in numbered(root) if not path.exists()))
    folder = RunFolder(root)
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; choose a folder with --out")
    refuse_links_out(root)
    if not root.exists() or not any(root.iterdir()):
        return folder
    if not folder.config.exists():
        raise UserError(f"{root} is not empty and holds no run; choose another folder with --out")
    if different := diff(load_run_config(folder.config), config):
        raise UserError(
            f"{root} holds a run with other settings ({', '.join(different)}); "
            "use --fresh for a new folder, or choose one with --out"
        )
    return folder


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
    """Whether the run came to its end."""
    return folder.summary.exists() and folder.report.exists()


def claim(folder: RunFolder, config: RunConfig) -> None:
    """Make the folder this run's; the environment is recorded with the first sitting."""
    if not folder.config.exists():
        write_json(folder.env, environment())
        write_text(folder.config, dump(config))


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Keep a second process out of the folder; the lock dies with the process."""

    with open(folder.root / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process works in {folder.root}; wait for it or use --fresh") from error
        yield


@contextmanager
def claimed(folder: RunFolder, config: RunConfig) -> Iterator[None]:
    """Inside, the folder is this run's; of several processes the main one holds it."""
    if not processes.is_main():
        yield
        return
    claim(folder, config)
    with locked(folder), log_file(folder.log):
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
def log_file(path: Path) -> Iterator[None]:
    """Copy this package's log lines to a file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(PlainFormatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("safediffusion")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
