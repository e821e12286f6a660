"""Signals and peak memory of this process; Ctrl-C and SIGTERM end a run after the current round."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import torch

from safediffusion.errors import Terminated

Handler = Callable[[int, FrameType | None], object]
STOPPING = (signal.SIGINT, signal.SIGTERM)


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far in MiB: that of the GPU, or of the process where the device is not one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return _peak_bytes() / 2**20


def _peak_bytes() -> int:
    """Peak resident memory of this process in bytes."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """End as Ctrl-C and SIGTERM do: with exit code 130 or 143."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(128 + number)


@contextmanager
def handling(numbers: Sequence[int], handler: Handler) -> Iterator[None]:
    """Inside, `handler` handles these signals; Python allows that in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Inside, the first Ctrl-C or SIGTERM is only noted; the second one ends the process at once.

    Yields:
        A function that returns the number of the signal that came, 0 before.
    """
    caught = 0

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        if caught:
            stop(number)
        caught = number

    with handling(STOPPING, remember):
        yield lambda: caught
