"""Seconds and peak memory of a run, over all its sessions; saved often, so a kill loses little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch

from safediffusion.files.checked import read_optional, write_checked
from safediffusion.files.contents import Progress
from safediffusion.system import distributed
from safediffusion.system.signals import peak_memory_mib


class Stopwatch:
    """Continues the time and the peak memory that earlier sessions saved.

    Args:
        path: the JSON file with the values of earlier sessions.
        device: the device whose memory is measured.
    """

    def __init__(self, path: Path, device: str) -> None:
        saved = read_optional(path, Progress)
        self.path, self.device = path, torch.device(device)
        self.earlier = saved.get("seconds", 0.0)
        self.peak_mib = saved.get("peak_memory_mib", 0)
        self.phases: dict[str, float] = saved.get("phases", {})
        self.started = perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of all sessions together."""
        return self.earlier + perf_counter() - self.started

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Record the seconds of a phase that ends without an error; a repeated phase replaces the value."""
        start = perf_counter()
        yield
        self.phases[name] = round(perf_counter() - start, 2)
        self.save()

    def save(self) -> None:
        """Write seconds and peak memory so far, in the main process."""
        if not distributed.is_main():
            return
        self.peak_mib = max(self.peak_mib, round(peak_memory_mib(self.device)))
        values = {"seconds": round(self.seconds, 2), "peak_memory_mib": self.peak_mib, "phases": self.phases}
        write_checked(self.path, values)
