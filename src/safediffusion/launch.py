"""`--nproc N`: the same command in N processes of this machine, or of several that PET_* variables name.

Torchrun's agent starts and watches them: where one dies it ends the others. It would kill processes 30
seconds after Ctrl-C or SIGTERM, too soon for a long round, so these go from here to the processes directly.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from safediffusion.errors import RunError, UserError

CONFIGS = Path(__file__).parent / "accelerate"  # for `accelerate launch --config_file`


def launch(nproc: int) -> None:
    """Run the command line that this process was started with, without --nproc, in `nproc` processes."""
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    from safediffusion.system.signals import STOPPING, handling, stop

    if torch.cuda.is_available() and nproc > torch.cuda.device_count():
        raise UserError(f"--nproc is {nproc}, but this machine has {torch.cuda.device_count()} GPUs")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # -m would import from the working folder first
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        import psutil

        received.append(number)
        children = psutil.Process().children()
        for child in children if sys.platform != "win32" else ():  # there Ctrl-C reaches them by itself
            child.send_signal(number)
        if not children:
            stop(number)

    ignored = "SIGBREAK" if sys.platform == "win32" else "SIGHUP"  # Ctrl-C and SIGTERM are handled here
    agent = ["--nproc-per-node", str(nproc), "--signals-to-handle", ignored]
    logging.disable(logging.ERROR)  # the agent's account of a failure; the processes say it themselves
    try:
        with handling(STOPPING, forward):
            run(parse_args([*agent, "-m", "safediffusion", *without_nproc(sys.argv[1:])]))
    except ChildFailedError as error:
        rank = first_failed({r: (f.exitcode, f.timestamp) for r, f in error.failures.items()})
        end(rank, error.failures[rank].exitcode, received)
    finally:
        logging.disable(logging.NOTSET)


def first_failed(failures: Mapping[int, tuple[int, int]]) -> int:
    """The rank that failed first, from exit code and time of each that failed.

    Times are whole seconds. A process that a signal killed takes the others with it within one, and they
    only say that they lost it; so it goes first. SIGTERM is what the agent sends to those that are left.
    """
    start = min(time for _, time in failures.values())

    def order(rank: int) -> tuple[bool, bool, int, int]:
        code, time = failures[rank]
        killed = code < 0 and code != -signal.SIGTERM
        return time > start + 1, not killed, time, rank

    return min(failures, key=order)


def end(rank: int, code: int, received: list[int]) -> NoReturn:
    """End as the first process that failed did: by the signal handed on to it, by wrong usage, or worse."""
    from safediffusion.system.signals import stop

    if received and code in (128 + received[0], -received[0]):
        stop(received[0])
    if code == 2:  # the process said what is wrong
        sys.exit(2)
    raise RunError(
        f"process {rank} failed (exit code {code}), so all were ended; what was finished is kept, "
        "run the same command again"
    )


def without_nproc(words: list[str]) -> list[str]:
    """A command line without the option --nproc and its value."""
    words = [word for word in words if not word.startswith("--nproc=")]
    if "--nproc" in words:
        at = words.index("--nproc")
        del words[at : at + 2]
    return words
