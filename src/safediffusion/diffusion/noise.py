"""Noise that is named by its purpose, so it does not depend on batches, processes or devices.

Every draw has a key: purpose, seed, round, prompt, member. A resumed run and a run on another number of
processes therefore draw the same numbers without any stored generator state.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# The purpose of a stream of random numbers: the first number of its key.
ROLLOUT, FORWARD, SUBSET, SAMPLE, SHEET, STEERING, RELAPSE = range(7)
# The meaning of the numbers after it. All keys of one purpose have the same length, because NumPy pads short
# ones with zeros: (3, 5) and (3, 5, 0) would be the same stream.
FIELDS = {
    ROLLOUT: ("seed", "step", "prompt", "member"),
    FORWARD: ("seed", "step", "prompt", "member", "update", "part"),
    SUBSET: ("seed", "step", "part"),
    SAMPLE: ("seed",),
    SHEET: ("seed",),
    STEERING: ("seed", "concept", "pair"),
    RELAPSE: ("seed", "step", "row", "part"),
}
START, PICTURE, LEVEL, ADDED = range(4)  # parts of a relapse's draws


def generator(purpose: int, *key: int) -> np.random.Generator:
    """A generator for a purpose and the non-negative integers that its keys have, see `FIELDS`.

    Raises:
        ValueError: the key has another length than the purpose's keys.
    """
    if len(key) != len(FIELDS[purpose]):
        raise ValueError(f"a key of purpose {purpose} names {', '.join(FIELDS[purpose])}, but got {key}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((purpose, *key))))


def normal(keys: Sequence[tuple[int, ...]], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers of a shape for each key, (len(keys), *shape) float32 on the CPU."""
    out = np.empty((len(keys), *shape), dtype=np.float32)
    for row, key in zip(out, keys, strict=True):
        generator(*key).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(out)


def integers(keys: Sequence[tuple[int, ...]], high: int) -> Tensor:
    """One uniform integer in [0, high) for each key, (len(keys),) int64 on the CPU."""
    return torch.tensor([int(generator(*key).integers(high)) for key in keys])
