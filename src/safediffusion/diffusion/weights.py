"""Another set of weights in a network's place, for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def swapped(parameters: Sequence[nn.Parameter], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the parameters hold the given tensors; exchanged by reference, nothing is copied."""
    kept = [p.data for p in parameters]
    for p, tensor in zip(parameters, tensors, strict=True):
        p.data = tensor
    try:
        yield
    finally:
        for p, tensor in zip(parameters, kept, strict=True):
            p.data = tensor
