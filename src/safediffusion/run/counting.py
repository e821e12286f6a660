"""FLOPs and peak memory of a piece of work, counted while it runs: on the meta device without any content."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Counter(TorchDispatchMode):
    """Counts the FLOPs of the code inside, and the peak of the bytes of its live tensors.

    FLOPs are by PyTorch's own formulas; what an operation needs inside itself is not seen. FlopCounterMode
    has the same formulas, but its hooks on modules keep tensors alive.

    Args:
        known: tensors that are not counted, as they were there before.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.flops = self.now = self.peak = 0
        self._live: dict[int, int] = {}
        self._known = {t.untyped_storage()._cdata for t in known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=result)
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self._add(value)
        self.peak = max(self.peak, self.now)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live or key in self._known:
            return
        self._live[key] = storage.nbytes()
        self.now += storage.nbytes()
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self._live.pop(key, 0)

    def forget(self, tensor: Tensor) -> None:
        """Stop counting a tensor, for example a gradient that is counted elsewhere."""
        self._remove(tensor.untyped_storage()._cdata)


@dataclass(frozen=True)
class Cost:
    """The cost of work on n rows: n times `flops`, and at its peak `fixed` + n times `row` bytes."""

    flops: float
    fixed: float
    row: float

    def peak(self, rows: int) -> float:
        """Peak bytes for this many rows."""
        return self.fixed + rows * self.row


def cost_of(work: Callable[[int], Tensor], parameters: Iterable[Tensor], learns: bool = False) -> Cost:
    """The cost of `work(rows)`, from counts for one row and for two.

    Args:
        work: what is counted; its result is dropped, or goes backward.
        parameters: of the network; neither they nor their gradients are counted.
        learns: whether the backward pass belongs to it.
    """
    parameters = list(parameters)
    (flops, one), (_, two) = (_count(work, rows, parameters, learns) for rows in (1, 2))
    return Cost(flops, max(0, 2 * one - two), two - one)


def _count(
    work: Callable[[int], Tensor], rows: int, parameters: list[Tensor], learns: bool
) -> tuple[int, int]:
    """FLOPs and peak bytes for this many rows."""
    counter = Counter(parameters)
    hooks = [
        p.register_post_accumulate_grad_hook(lambda p: counter.forget(p.grad))
        for p in parameters
        if p.requires_grad and learns
    ]
    with torch.set_grad_enabled(learns), counter:
        result = work(rows)
        if learns:
            result.sum().backward()
    for hook in hooks:
        hook.remove()
    for p in parameters:
        p.grad = None
    return counter.flops, counter.peak
