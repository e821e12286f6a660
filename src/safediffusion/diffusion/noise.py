"""Noise that depends only on what it is for: never on batches, processes or devices."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# What a stream of random numbers is for; part of its key, so that streams never meet.
ROLLOUT, FORWARD, SUBSET, SAMPLE = range(4)


def generator(*key: int) -> np.random.Generator:
    """A generator for a key of non-negative integers such as (purpose, seed, step, prompt, member)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def normal(keys: Sequence[tuple[int, ...]], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers of a shape for each key, (len(keys), *shape) float32 on the CPU."""
    out = np.empty((len(keys), *shape), dtype=np.float32)
    for row, key in zip(out, keys, strict=True):
        generator(*key).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(out)


def integers(keys: Sequence[tuple[int, ...]], high: int) -> Tensor:
    """One uniform integer in [0, high) for each key, (len(keys),) int64 on the CPU."""
    return torch.tensor([int(generator(*key).integers(high)) for key in keys])
