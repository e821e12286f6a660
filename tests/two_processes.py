"""Work in two processes, forked from one that has imported the libraries: importing them takes seconds."""

import faulthandler
import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessException

from safediffusion.cli import entry

LIBRARIES = [
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "safediffusion.report.report",
    "safediffusion.run.train",
    "safediffusion.training.trainer",
]


def in_two_processes(work: Callable[..., None], *arguments: Any) -> None:
    """Call work(rank, *arguments) in processes 0 and 1; an error of either is raised here.

    If a process crashes, the error's notes say where it was.
    """
    method = "spawn"  # for systems without fork
    if "forkserver" in multiprocessing.get_all_start_methods():
        method = "forkserver"
        multiprocessing.set_forkserver_preload(LIBRARIES)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"stacks-{rank}.txt") for rank in (0, 1)]
        try:
            torch.multiprocessing.start_processes(
                _traced, (files, work, arguments), nprocs=2, start_method=method
            )
        except ProcessException as error:
            for file in files:
                if file.exists():
                    error.add_note(file.read_text(encoding="utf-8"))
            raise


def _traced(rank: int, files: list[Path], work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with files[rank].open("w", encoding="utf-8") as file:
        faulthandler.enable(file)
        work(rank, *arguments)
        faulthandler.disable()


def command_in_two_processes(words: Sequence[str], folder: Path) -> tuple[str, str]:
    """Run `safediffusion WORDS` in a folder as a launcher of two processes would.

    Returns:
        What each process printed.

    Raises:
        AssertionError: a process failed.
    """
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    files = [folder / f"printed-{rank}.txt" for rank in (0, 1)]
    try:
        in_two_processes(_command, list(words), folder, port, files)
    except ProcessException as error:
        text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())
        raise AssertionError(text) from error
    first, second = (file.read_text(encoding="utf-8") for file in files)
    return first, second


def _command(rank: int, words: list[str], folder: Path, port: int, files: list[Path]) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    os.chdir(folder)
    file = os.open(files[rank], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["safediffusion", *words]
    entry.main()
