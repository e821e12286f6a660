"""FLOPs and peak memory of a piece of work, counted while it runs: on the meta device without any content."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Form(NamedTuple):
    """All that a tensor without content is."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes(self) -> int:
        """Of a tensor of this form that is alone in its memory."""
        return self.made().untyped_storage().nbytes()

    def made(self) -> Tensor:
        """A new tensor of this form."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)


def forms(value: Any) -> Any:
    """Arguments or results of an operation with forms in the place of tensors; can be a key."""
    if isinstance(value, Tensor):
        return Form(tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, list | tuple):
        return tuple, tuple(map(forms, value))
    return type(value), value  # 1, 1.0 and True are equal as keys, and not as arguments


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)


class KnownResults:
    """Results of operations on the meta device, by the form of their arguments.

    PyTorch works out what comes of an operation there in Python, which would take most of the time of
    counting; and a network repeats its blocks. A result that shares memory with an argument is never kept.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def result(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What the operation gives."""
        given = list(tensors_in((args, tuple(kwargs.values()))))
        if func._schema.is_mutable or not any(t.is_meta for t in given):
            return func(*args, **kwargs)
        key = (func, forms(args), forms(tuple(kwargs.items())))
        if key not in self._known:
            result = func(*args, **kwargs)
            self._known[key] = forms(result) if is_new(list(tensors_in(result)), given) else None
            return result
        known = self._known[key]
        return func(*args, **kwargs) if known is None else made(known)


def made(form: Any) -> Any:
    """What has these forms."""
    if isinstance(form, Form):
        return form.made()
    kind, value = form
    return tuple(map(made, value)) if kind is tuple else value


def is_new(results: Sequence[Tensor], given: Sequence[Tensor]) -> bool:
    """Whether results are on the meta device, and each has memory of its own that it fills."""
    own = {t.untyped_storage()._cdata for t in results}
    if not len(own) == len(results) > 0 or own & {t.untyped_storage()._cdata for t in given}:
        return False
    return all(t.is_meta and forms(t).bytes == t.untyped_storage().nbytes() for t in results)


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
        self._results = KnownResults()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = self._results.result(func, args, kwargs)
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
