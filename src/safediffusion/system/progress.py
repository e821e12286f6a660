"""The progress line of a running command: the phase, the work done, and the time left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from safediffusion.system.launched import launched_rank
from safediffusion.text.escaping import plain

# with a postfix of 30 letters it fits 80 columns
FORMAT = "{desc:<13} {n_fmt}/{total_fmt} |{bar:10}| {time_left} left{postfix}"


class ProgressLine(tqdm):
    """tqdm whose time left includes work that follows this phase."""

    later: float = 0.0

    @property
    def format_dict(self) -> dict[str, Any]:
        """tqdm's values for the line, with `time_left`; `?` before anything is done."""
        values = super().format_dict
        done = self.n - self.initial
        left = self.later + (values["elapsed"] / done * (self.total - self.n) if done else 0.0)
        return dict(values) | {"time_left": tqdm.format_interval(left) if done else "?"}

    def name_phase(self, phase: str) -> None:
        """Show the name of the phase: at once on a terminal, with the next update in a log."""
        self.set_description_str(plain(phase), refresh=sys.stderr.isatty())


@contextmanager
def progress(phase: str, total: int, done: int = 0, later: float = 0.0) -> Iterator[ProgressLine]:
    """Show a progress line on stderr until the phase ends; of several processes, only rank 0 shows one.

    Args:
        phase: its name, for example "train".
        total: units of work, of which `done` were finished earlier.
        later: seconds of other work known to follow, added to the time left.
    """
    terminal = sys.stderr.isatty()
    with ProgressLine(
        total=total,
        initial=done,
        desc=plain(phase),
        bar_format=FORMAT,
        leave=False,
        disable=launched_rank() > 0,
        delay=1.0,
        smoothing=0,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 20.0,
    ) as line:
        line.later = later
        yield line
