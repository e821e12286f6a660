"""A sharded network: every process of a run holds its shard of each weight (FSDP2; Zhao et al., 2023)."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class Sharded:
    """Shards a network in place, layer by layer, and can gather it for a while.

    A call of the sharded network gathers the weights of each layer when it reaches that layer, so all
    processes must make the same calls. Sampling is not like that: processes have different numbers of rows.
    It uses the twin, an unsharded copy of the module whose weights exist only inside `whole`.

    Args:
        network: the same in every process. Its parameters become shards; its gradients become sums over all
            processes.
    """

    def __init__(self, network: nn.Module) -> None:
        empty = {id(p): nn.Parameter(p.data.new_empty(0), False) for p in network.parameters()}
        self.twin: Any = copy.deepcopy(network, empty)
        layers = [
            layer
            for child in network.children()
            for layer in members(child)
            if any(True for _ in layer.parameters())
        ]
        for module in (*layers, network):
            part: Any = fully_shard(module, reshard_after_forward=True)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
        self.network = network

    @contextmanager
    def whole(self, values: Mapping[str, Tensor]) -> Iterator[nn.Module]:
        """The gathered network, with `values` instead of its own weights where given.

        All processes enter together.
        """
        twins = dict(self.twin.named_parameters())
        try:
            for name, p in self.network.named_parameters():
                twins[name].data = joined(values.get(name, p.data))
            yield self.twin
        finally:
            for twin in twins.values():
                twin.data = twin.data.new_empty(0)


def members(module: nn.Module) -> list[nn.Module]:
    """What a container holds, which is never called itself; another module alone."""
    return list(module.children()) if isinstance(module, nn.ModuleList | nn.ModuleDict) else [module]


def joined(tensor: Tensor) -> Tensor:
    """The full tensor of a shard, or a plain tensor itself; all processes call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def pieces(tensor: Tensor) -> Tensor:
    """The shard of this process, sharing memory; a plain tensor is returned as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def cut_like(whole: Tensor, like: Tensor) -> Tensor:
    """A full tensor on the device of `like`, sharded as `like` is where the shapes agree."""
    whole = whole.to(like.device)
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def exchange(a: Tensor, b: Tensor) -> None:
    """Swap the values of two tensors: by reference, except for shards, whose memory FSDP2 refers to."""
    if not isinstance(a, DTensor):
        a.data, b.data = b.data, a.data
        return
    a, b = pieces(a), pieces(b)
    kept = a.clone()
    a.copy_(b)
    b.copy_(kept)
