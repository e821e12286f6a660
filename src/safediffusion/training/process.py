"""What the trainer asks of its process: seconds a phase, peak memory, and to finish a step on Ctrl-C."""

import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch


class Clock:
    """Seconds by phase; tells a listener which phase begins."""

    def __init__(self, on_phase: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.on_phase = on_phase

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        if self.on_phase:
            self.on_phase(phase)
        start = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - start

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


def peak_memory_mib(device: torch.device) -> float:
    """Most memory used so far: the GPU's where it is one, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only sets what the yielded function returns; the second one interrupts."""
    caught = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = True
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: caught
    finally:
        signal.signal(signal.SIGINT, before)
