"""Networks that only note where they are told to go, in place of those that wait off the device."""

from typing import Any

from torch import nn

from safediffusion.system.offload import Offloaded

GPU = "cuda"
THERE_AND_BACK = [GPU, "cpu"]


class Noting(nn.Module):
    """Goes nowhere, and notes where it was told to go."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []

    def to(self, *args: Any, **kwargs: Any) -> "Noting":
        self.moves.append(str(args[0]))
        return self


def waiting() -> tuple[Offloaded, list[str]]:
    """An offloaded network and its moves from now on."""
    network = Noting()
    offloaded = Offloaded([network], GPU, True)
    assert network.moves == ["cpu"]  # never on the device before it is needed
    network.moves.clear()
    return offloaded, network.moves
