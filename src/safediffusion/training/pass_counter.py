"""Counts what the network is really asked for: rows passed forward and rows passed backward."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class PassCounter:
    """Image-passes of a network: a call on n rows counts n, and n more when a gradient comes back through it.

    Rows that only fill up a call count, as they cost as much. Guidance by two passes doubles the rows.
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
        result: Tensor = output[0]
        self.forward += len(result)
        if result.requires_grad and torch.is_grad_enabled():
            result.register_hook(self._came_back)

    def _came_back(self, gradient: Tensor) -> None:
        self.backward += len(gradient)

    def take(self) -> dict[str, int]:
        """What was counted since the last call."""
        counted = {"forward": self.forward, "backward": self.backward}
        self.forward = self.backward = 0
        return counted
