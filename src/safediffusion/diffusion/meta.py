"""Mixed precision and fused attention as on a GPU, for tensors of the meta device, which have no content.

PyTorch's autocast does not support that device, and attention there keeps matrices that no GPU keeps.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def flash_attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
    """FlashAttention's shapes: (n, heads, length, d) and one number per row for the backward pass.

    Masks, dropout and scale do not change the cost, so they are ignored.
    """
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]


# Of PyTorch's table "CUDA Ops that can autocast to ...", those that diffusion networks call.
MATRIX = (F.linear, F.conv2d, torch.matmul, torch.bmm, torch.baddbmm, Tensor.matmul, Tensor.__matmul__)
HALF: dict[Any, Callable[..., Tensor]] = {func: func for func in MATRIX}
HALF[F.scaled_dot_product_attention] = flash_attention
SINGLE = {F.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax}


class AsOnGpu(TorchFunctionMode):
    """Inside, operations on the meta device have the types and the kernels that they have on a GPU.

    Args:
        dtype: that autocast would compute in; float32 means no autocast.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._cast: dict[int, Tensor] = {}  # autocast, too, casts each weight once per forward pass

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in HALF:
            args = [self._half(value) for value in args]
            kwargs = {name: self._half(value) for name, value in kwargs.items()}
        elif func in SINGLE:
            args = [value.float() if floating(value) else value for value in args]
            kwargs = {name: value.float() if floating(value) else value for name, value in kwargs.items()}
        return HALF.get(func, func)(*args, **kwargs)

    def _half(self, value: Any) -> Any:
        if not floating(value) or value.dtype == self.dtype or self.dtype == torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(self.dtype)
        if id(value) not in self._cast:
            self._cast[id(value)] = value.to(self.dtype)
        return self._cast[id(value)]


def floating(value: Any) -> bool:
    """Whether this is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()
