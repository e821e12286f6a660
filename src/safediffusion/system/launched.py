"""What a launcher (`--nproc`, torchrun, accelerate) says about this process, without importing torch.

The process group of `distributed` may not be set up yet, or never; these values are there from the start.
"""

from __future__ import annotations

import os


def launched_count() -> int:
    """Number of processes that the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", 1))


def launched_rank() -> int:
    """Number of this process among them, from 0."""
    return int(os.environ.get("RANK", 0))


def is_launched() -> bool:
    """Whether a launcher started this process, even if it is the only one."""
    return "RANK" in os.environ
