"""Seconds per phase of a round."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class PhaseClock:
    """Seconds per phase of a round; "other" is the time between phases.

    On a GPU a phase ends with a synchronisation; otherwise its time would be counted in the next one.
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
        """Return the seconds since the start; those outside of all phases become "other"."""
        total = time.perf_counter() - self.started
        self.seconds["other"] = total - sum(self.seconds.values())
        return total
