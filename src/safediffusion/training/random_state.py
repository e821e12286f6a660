"""The state of the process' random generators, for a checkpoint.

Training draws keyed noise instead (diffusion/noise.py); a user's reward or a network with dropout may still
use these generators.
"""

import json
import random

import numpy as np
import torch
from torch import Tensor


def random_state() -> dict[str, Tensor]:
    """Python's, NumPy's and torch's generators, as tensors on the CPU."""
    name, keys, *rest = np.random.get_state(legacy=True)
    plain = {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}
    state = {
        "torch": torch.get_rng_state(),
        "plain": torch.frombuffer(bytearray(json.dumps(plain).encode()), dtype=torch.uint8),
    }
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def restore_random_state(state: dict[str, Tensor]) -> None:
    """Restore what `random_state` returned."""
    plain = json.loads(bytes(state["plain"].tolist()))
    version, words, gauss = plain["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(plain["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def by_process(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The states of all processes, their names prefixed by the rank, as one group of a checkpoint."""
    return {f"{rank}/{key}": value for rank, state in enumerate(states) for key, value in state.items()}


def of_process(saved: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The state of one process; empty where the checkpoint was written by fewer processes."""
    prefix = f"{rank}/"
    return {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
