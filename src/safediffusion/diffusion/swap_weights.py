"""Replaces the weights of a network by another set inside a `with` block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from safediffusion.diffusion.sharding import exchange


@contextmanager
def swapped(parameters: Sequence[nn.Parameter], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the parameters hold the values of the given tensors, and those hold theirs."""
    pairs = list(zip(parameters, tensors, strict=True))
    for p, tensor in pairs:
        exchange(p, tensor)
    try:
        yield
    finally:
        for p, tensor in pairs:
            exchange(p, tensor)
