"""What both algorithms share: a round's batch, how it is split into optimizer steps, and its record."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.training import processes


@dataclass(frozen=True)
class Batch:
    """One round's images to be: groups in order, members of a group side by side.

    Attributes:
        step: round, from 0.
        first: place of its first row among the rows of all processes.
        total: rows of all processes.
        keys: (prompt, member) of every row; the name of its noise.
        cond: text conditioning of its rows.
        drawn: text conditioning that its rows are drawn with; `cond` but for members lent by a neighbour.
        kl: weight of its rows' distance to the reference model, (n,).
    """

    step: int
    first: int
    total: int
    keys: list[tuple[int, int]]
    cond: Condition
    drawn: Condition
    kl: Tensor

    @property
    def rows(self) -> slice:
        """Its rows among those of all processes."""
        return slice(self.first, self.first + len(self.keys))

    def own(self, rows: Tensor) -> Tensor:
        """Those of the given rows of all processes that are here, counted from 0."""
        return rows[(rows >= self.rows.start) & (rows < self.rows.stop)] - self.first


class Algorithm(Protocol):
    """Samples and learns; knows nothing of rewards."""

    def describe(self) -> list[str]:
        """Lines for the log."""
        ...

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents (n, c, h, w); what the update needs of their making is kept."""
        ...

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on the last sampled images, with advantages (n,); returns values for the log."""
        ...


def optimizer_batches(n: int, updates: int) -> Iterator[Tensor]:
    """Rows of each optimizer step, strided so that every one of them holds images of several prompts."""
    for first in range(updates):
        yield torch.arange(first, n, updates)


def micro_batches(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Rows in parts of `size`, the last one smaller; nothing where this process has none."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


class RoundLog:
    """Sums over the micro-batches of a round."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.ratios: list[Tensor] = []
        self._first: list[Tensor] = []
        self._loss = 0.0
        self._stopped: list[Tensor] = []
        self._kl: dict[int, list[float]] = defaultdict(list)

    def add(self, loss: Tensor, total: int) -> None:
        self._loss += loss.sum().item() / total

    def everywhere(self) -> "RoundLog":
        """The same of all processes together."""
        whole = RoundLog()
        whole.norms = self.norms  # of summed gradients, so equal everywhere
        for log in processes.everyone(self):
            whole.ratios += log.ratios
            whole._first += log._first
            whole._loss += log._loss
            whole._stopped += log._stopped
            for t, values in log._kl.items():
                whole._kl[t] += values
        return whole

    def add_ratio(self, log_ratio: Tensor) -> None:
        log_ratio = log_ratio.cpu()
        self.ratios.append(log_ratio)
        if not self.norms:
            self._first.append(log_ratio)

    def add_stopped(self, stopped: Tensor) -> None:
        self._stopped.append(stopped.cpu())

    def add_kl(self, timesteps: Tensor, kl: Tensor) -> None:
        for t, value in zip(timesteps.long().tolist(), kl.tolist(), strict=True):
            self._kl[t].append(value)

    def first_deviation(self) -> float | None:
        return torch.cat(self._first).expm1().abs().max().item() if self._first else None

    def summary(self) -> dict[str, Any]:
        by_time = {str(t): sum(v) / len(v) for t, v in sorted(self._kl.items())}
        values = [value for group in self._kl.values() for value in group]
        return {
            "loss": self._loss / max(1, len(self.norms)),
            "grad_norm": sum(self.norms) / max(1, len(self.norms)),
            "kl_ref": sum(values) / len(values) if values else None,
            "kl_ref_per_timestep": by_time,
            **({"stopped": torch.cat(self._stopped).float().mean().item()} if self._stopped else {}),
        }
