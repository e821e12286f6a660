"""Counts the rows that really pass through the network, forward and backward."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class PassCounter:
    """Image-passes of a network: a call on n rows counts n, and n more when it is differentiated.

    Rows that only pad a call count too, as they cost as much. Guidance by two passes doubles the rows.
    Activations computed again in the backward pass are part of that pass.
    """

    def __init__(self) -> None:
        self.forward = self.backward = 0

    @contextmanager
    def counting(self, network: nn.Module) -> Iterator[None]:
        """Count the network's calls inside."""
        handle = network.register_forward_hook(self._called)
        try:
            yield
        finally:
            handle.remove()

    def _called(self, network: nn.Module, inputs: Any, output: Any) -> None:
        result: Tensor | list[Tensor] = output[0]
        self.forward += len(result)
        # some networks give a list of single rows
        parts = [(row, 1) for row in result] if isinstance(result, list) else [(result, len(result))]
        for part, rows in parts:
            if part.requires_grad and torch.is_grad_enabled():
                part.register_hook(partial(self._came_back, rows))

    def _came_back(self, rows: int, gradient: Tensor) -> None:
        self.backward += rows

    def take(self) -> dict[str, int]:
        """Return the counts since the last call of this method, and reset them."""
        counted = {"forward": self.forward, "backward": self.backward}
        self.forward = self.backward = 0
        return counted
