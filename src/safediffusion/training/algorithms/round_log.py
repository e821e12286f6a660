"""What the micro-batches of a round add up to in the log."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from safediffusion.system import distributed


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
        """Add the losses (n,) of a micro-batch; `total` is the number of rows of the optimizer step."""
        self._loss += loss.sum().item() / total

    def all_gather(self) -> RoundLog:
        """One log of the rows of all processes."""
        whole = RoundLog()
        whole.norms = self.norms  # of summed gradients, so equal in every process
        for log in distributed.all_gather_object(self):
            whole.ratios += log.ratios
            whole._first += log._first
            whole._loss += log._loss
            whole._stopped += log._stopped
            for t, values in log._kl.items():
                whole._kl[t] += values
        return whole

    def add_ratio(self, log_ratio: Tensor) -> None:
        """Add log ratios (n,) of the policy to the one that sampled."""
        log_ratio = log_ratio.cpu()
        self.ratios.append(log_ratio)
        if not self.norms:
            self._first.append(log_ratio)

    def add_stopped(self, stopped: Tensor) -> None:
        """Add which rows (n,) the trust region stopped."""
        self._stopped.append(stopped.cpu())

    def add_kl(self, timesteps: Tensor, kl: Tensor) -> None:
        """Add the distances to the reference (n,) at timesteps (n,)."""
        for t, value in zip(timesteps.long().tolist(), kl.tolist(), strict=True):
            self._kl[t].append(value)

    def first_deviation(self) -> float | None:
        """Largest deviation from 1 of the ratios before the first optimizer step; 0 but for rounding."""
        return torch.cat(self._first).expm1().abs().max().item() if self._first else None

    def summary(self) -> dict[str, Any]:
        """Field names and values for metrics.jsonl."""
        by_time = {str(t): sum(v) / len(v) for t, v in sorted(self._kl.items())}
        values = [value for group in self._kl.values() for value in group]
        return {
            "loss": self._loss / max(1, len(self.norms)),
            "grad_norm": sum(self.norms) / max(1, len(self.norms)),
            "kl_ref": sum(values) / len(values) if values else None,
            "kl_ref_per_timestep": by_time,
            **({"stopped": torch.cat(self._stopped).float().mean().item()} if self._stopped else {}),
        }
