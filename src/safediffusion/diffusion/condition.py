"""The text conditioning of a network: the tensors that the text encoders of a family return, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Text conditioning of n prompts or images.

    Attributes:
        tokens: hidden states of the text encoders, (n, length, d).
        pooled: one vector a prompt, (n, d); None where the network takes none.
        mask: which tokens the network attends to, (n, length) bool; None where it reads all of them.
        lengths: tokens of each row that the network is given, for networks that take texts of different
            lengths. Numbers of the host: reading them from a tensor would wait for the device in every call.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None
    lengths: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(x.nbytes for x in (self.tokens, self.pooled, self.mask) if x is not None)

    def __getitem__(self, rows: Tensor | slice) -> Condition:
        found = self._each(lambda x: x[rows])
        if self.lengths is None:
            return found
        if isinstance(rows, slice):
            return replace(found, lengths=self.lengths[rows])
        return replace(found, lengths=tuple(self.lengths[row] for row in rows.tolist()))

    def to(self, device: torch.device | str) -> Condition:
        """The same rows on a device."""
        return self._each(lambda x: x.to(device))

    def repeat_interleave(self, times: int) -> Condition:
        """Every row repeated `times` times, copies next to each other."""
        repeated = self._each(lambda x: x.repeat_interleave(times, 0))
        if self.lengths is None:
            return repeated
        return replace(repeated, lengths=tuple(n for n in self.lengths for _ in range(times)))

    def expand(self, n: int) -> Condition:
        """A single row expanded to n rows, without copying."""
        row = self._each(lambda x: x.expand(n, *x.shape[1:]))
        return row if self.lengths is None else replace(row, lengths=self.lengths * n)

    def zeros_like(self) -> Condition:
        """Zeros of the same shape; what is attended to stays."""
        return replace(self._each(torch.zeros_like), mask=self.mask)

    def split(self, size: int) -> list[Condition]:
        """Consecutive parts of `size` rows, the last one smaller."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """The rows of all parts, which come from the same family, one after the other."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        masks = [part.mask for part in parts if part.mask is not None]
        lengths = [n for part in parts for n in part.lengths or ()]
        return Condition(
            torch.cat([part.tokens for part in parts]),
            torch.cat(pooled) if pooled else None,
            torch.cat(masks) if masks else None,
            tuple(lengths) or None,
        )

    def _each(self, act: Callable[[Tensor], Tensor]) -> Condition:
        """The tensors changed row by row; the number of rows is the caller's."""
        pooled, mask = (None if x is None else act(x) for x in (self.pooled, self.mask))
        return Condition(act(self.tokens), pooled, mask, self.lengths)
