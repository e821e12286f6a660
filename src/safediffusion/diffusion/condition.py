"""The text conditioning of a network: the tensors that the text encoders of a family return, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Text conditioning of n prompts or images.

    Attributes:
        tokens: hidden states of the text encoders, (n, length, d).
        pooled: one vector a prompt, (n, d); None where the network takes none.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor | slice) -> Condition:
        return self._each(lambda x: x[rows])

    def to(self, device: torch.device | str) -> Condition:
        """The same rows on a device."""
        return self._each(lambda x: x.to(device))

    def repeat_interleave(self, times: int) -> Condition:
        """Every row repeated `times` times, copies next to each other."""
        return self._each(lambda x: x.repeat_interleave(times, 0))

    def expand(self, n: int) -> Condition:
        """A single row expanded to n rows, without copying."""
        return self._each(lambda x: x.expand(n, *x.shape[1:]))

    def zeros_like(self) -> Condition:
        """Zeros of the same shape."""
        return self._each(torch.zeros_like)

    def split(self, size: int) -> list[Condition]:
        """Consecutive parts of `size` rows, the last one smaller."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """The rows of all parts, which come from the same family, one after the other."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Condition(torch.cat([part.tokens for part in parts]), torch.cat(pooled) if pooled else None)

    def _each(self, act: Callable[[Tensor], Tensor]) -> Condition:
        return Condition(act(self.tokens), None if self.pooled is None else act(self.pooled))
