"""The one line a running command shows: the phase, how far it is, and an honest time left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from safediffusion.text.escaping import plain

FORMAT = "{desc:<16} {n_fmt}/{total_fmt} |{bar:24}| {time_left} left{postfix}"


class ProgressLine(tqdm):
    """tqdm whose time left also counts work that is known to follow this phase."""

    later: float = 0.0

    @property
    def format_dict(self) -> dict[str, Any]:
        values = super().format_dict
        done = self.n - self.initial
        left = self.later + (values["elapsed"] / done * (self.total - self.n) if done else 0.0)
        return dict(values) | {"time_left": tqdm.format_interval(left) if done else "?"}

    def name_phase(self, phase: str) -> None:
        """Show what is going on; at once on a terminal, with the next update in a log."""
        self.set_description_str(plain(phase), refresh=sys.stderr.isatty())


@contextmanager
def progress(phase: str, total: int, done: int = 0, later: float = 0.0) -> Iterator[ProgressLine]:
    """A progress line on stderr, wiped away when the phase ends; of several processes the first shows one.

    Args:
        phase: what is going on, for example "train".
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
        disable=os.environ.get("RANK", "0") != "0",
        delay=1.0,
        smoothing=0,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 20.0,
    ) as line:
        line.later = later
        yield line
