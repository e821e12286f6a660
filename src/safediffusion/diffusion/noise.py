"""Noise that depends only on what it is for: never on batches, processes or devices."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# What a stream of random numbers is for: the first number of its key.
ROLLOUT, FORWARD, SUBSET, SAMPLE, SHEET = range(5)
# What the numbers after it name. Keys of one purpose have one length, as NumPy fills short ones up with
# zeros: (3, 5) and (3, 5, 0) would be one stream.
FIELDS = {
    ROLLOUT: ("seed", "step", "prompt", "member"),
    FORWARD: ("seed", "step", "prompt", "member", "update", "part"),
    SUBSET: ("seed", "step", "part"),
    SAMPLE: ("seed",),
    SHEET: ("seed",),
}


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
