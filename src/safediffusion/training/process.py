"""What the trainer asks of its process: seconds a phase, peak memory, to finish a step when stopped."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import torch

from safediffusion.errors import Terminated

Handler = Callable[[int, FrameType | None], object]
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Clock:
    """Seconds by phase, "other" being what lies between phases; tells a listener which phase begins.

    A phase on a GPU ends when the GPU is done with it, or its time would be found in the next one.
    """

    def __init__(self, device: torch.device, on_phase: Callable[[str], None] | None = None) -> None:
        self.device, self.on_phase = device, on_phase
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        if self.on_phase:
            self.on_phase(phase)
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[phase] = time.perf_counter() - start

    def stop(self) -> float:
        """Seconds since the start; what no phase took becomes "other"."""
        total = time.perf_counter() - self.started
        self.seconds["other"] = total - sum(self.seconds.values())
        return total


def peak_memory_mib(device: torch.device) -> float:
    """Most memory used so far: the GPU's where it is one, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return _peak_bytes() / 2**20


def _peak_bytes() -> int:
    """Most memory that this process had, as its system counts it."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """What Ctrl-C and SIGTERM lead to: exit codes 130 and 143."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(128 + number)


@contextmanager
def handling(numbers: Sequence[int], handler: Handler) -> Iterator[None]:
    """Inside, these signals are handled thus; in other threads than the main one Python allows it not."""
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
    """Inside, the first Ctrl-C or SIGTERM is only remembered, the second one ends the process at once.

    Yields a function that returns the number of the signal that came, 0 before.
    """
    caught = 0

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        if caught:
            stop(number)
        caught = number

    with handling(STOPPING, remember):
        yield lambda: caught
