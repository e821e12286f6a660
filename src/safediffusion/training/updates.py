"""What both algorithms share: a round's batch, how it is split into optimizer steps, and its record."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from safediffusion.diffusion.condition import Condition


@dataclass(frozen=True)
class Batch:
    """One round's images to be: groups in order, members of a group side by side.

    Attributes:
        step: round, from 0.
        keys: (prompt, member) of every row; the name of its noise.
        cond: text conditioning of its rows.
    """

    step: int
    keys: list[tuple[int, int]]
    cond: Condition


class Algorithm(Protocol):
    """Samples and learns; knows nothing of rewards."""

    def describe(self) -> list[str]:
        """Lines for the log."""
        ...

    def sample(self, batch: Batch) -> Tensor:
        """Images (n, 3, h, w) in [0, 1]; what the update needs of them is kept."""
        ...

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on the last sampled images, with advantages (n,); returns values for the log."""
        ...


def optimizer_batches(n: int, updates: int) -> Iterator[Tensor]:
    """Rows of each optimizer step, strided so that every one of them holds images of several prompts."""
    for first in range(updates):
        yield torch.arange(first, n, updates)


class RoundLog:
    """Sums over the micro-batches of a round."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.ratios: list[Tensor] = []
        self._first: list[Tensor] = []
        self._loss = 0.0
        self._kl: dict[int, list[float]] = defaultdict(list)

    def add(self, loss: Tensor, total: int) -> None:
        self._loss += loss.sum().item() / total

    def add_ratio(self, log_ratio: Tensor) -> None:
        self.ratios.append(log_ratio)
        if not self.norms:
            self._first.append(log_ratio)

    def add_kl(self, timesteps: Tensor, kl: Tensor) -> None:
        for t, value in zip(timesteps.long().tolist(), kl.tolist(), strict=True):
            self._kl[t].append(value)

    def first_deviation(self) -> float:
        return torch.cat(self._first).expm1().abs().max().item()

    def summary(self) -> dict[str, Any]:
        by_time = {str(t): sum(v) / len(v) for t, v in sorted(self._kl.items())}
        values = [value for group in self._kl.values() for value in group]
        return {
            "loss": self._loss / max(1, len(self.norms)),
            "grad_norm": sum(self.norms) / max(1, len(self.norms)),
            "kl_ref": sum(values) / len(values) if values else None,
            "kl_ref_per_timestep": by_time,
        }
