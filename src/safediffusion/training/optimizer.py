"""AdamW from torch, or with its moments in 8 bits, and its state as tensors for a checkpoint."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from safediffusion.config.schema import TrainConfig
from safediffusion.diffusion.sharding import cut_like
from safediffusion.errors import UserError

MOMENTS = {"adamw": 8, "adamw8bit": 2}  # bytes per trained value


def check_optimizer(name: str, device: torch.device | str) -> None:
    """Refuse 8-bit moments where their package is missing, and on a CPU, for which it has no kernels.

    Raises:
        UserError: with what to install or set.
    """
    if name != "adamw8bit":
        return
    if find_spec("bitsandbytes") is None:
        raise UserError("train.optimizer=adamw8bit needs the package bitsandbytes; pip install bitsandbytes")
    if torch.device(device).type == "cpu":
        raise UserError("train.optimizer=adamw8bit needs a GPU; set train.optimizer=adamw")


def make_optimizer(train: TrainConfig, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """AdamW (Loshchilov & Hutter, 2019), its moments in 8 bits (Dettmers et al., 2022) for adamw8bit."""
    if train.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay, fused=True)
    bitsandbytes: Any = import_module("bitsandbytes")
    return bitsandbytes.optim.AdamW8bit(parameters, lr=train.lr, weight_decay=train.weight_decay)


def optimizer_tensors(optimizer: Optimizer, named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state by parameter and field; no two tensors share memory."""
    return {
        f"{name}/{field}": _tensor(field, value)
        for name, p in named.items()
        for field, value in optimizer.state[p].items()
    }


def _tensor(field: str, value: Any) -> Tensor:
    if isinstance(value, int):  # bitsandbytes keeps its step as an integer
        return torch.tensor(value)
    return value.clone() if field.startswith("qmap") else value  # one map for all parameters there


def load_optimizer(
    optimizer: Optimizer, named: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Restore what `optimizer_tensors` returned, bit for bit."""
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        p = named[name]
        counted = value.dtype == torch.int64 and value.ndim == 0
        optimizer.state[p][field] = value.item() if counted else _laid_out(value, p)


def _laid_out(value: Tensor, p: nn.Parameter) -> Tensor:
    """The state in the memory layout of its parameter, as the fused kernel indexes both alike."""
    value = cut_like(value, p)
    if isinstance(value, DTensor) or value.shape != p.shape:
        return value
    return torch.empty_like(p, dtype=value.dtype, requires_grad=False).copy_(value)
