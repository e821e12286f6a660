"""Keeps frozen networks in the computer's memory while they are not needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class Offloaded:
    """Networks that are on their device inside `awake` only; without `offload`, always.

    Args:
        networks: to be moved, wherever they are now.
        device: where they run; nothing is moved if that is the CPU itself.
        offload: whether they stay on the CPU outside of `awake`.
    """

    def __init__(self, networks: Sequence[nn.Module], device: torch.device | str, offload: bool) -> None:
        self.networks, self.device = tuple(networks), torch.device(device)
        self._awake = not offload or self.device.type == "cpu"
        self._move(self.device if self._awake else torch.device("cpu"))

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Inside, they are on the device. Of nested blocks only the outermost moves them."""
        if self._awake:
            yield
            return
        self._awake = True
        self._move(self.device)
        try:
            yield
        finally:
            self._awake = False
            self._move(torch.device("cpu"))

    def _move(self, device: torch.device) -> None:
        for network in self.networks:
            network.to(device)
