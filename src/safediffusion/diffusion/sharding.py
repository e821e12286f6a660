"""A network in pieces: every process of a run keeps its part of each weight (FSDP2, Zhao et al., 2023)."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class Sharded:
    """Cuts a network up in place, layer by layer, and can put it together for a while.

    Calls of the network in pieces gather a layer's weights as they come to it, so all processes have to make
    them together. A process that is to work at its own pace uses the whole network, a twin of the one in
    pieces: its weights are there only inside `whole`.

    Args:
        network: the same in every process; its parameters become pieces, its gradients sums over processes.
    """

    def __init__(self, network: nn.Module) -> None:
        empty = {id(p): nn.Parameter(p.data.new_empty(0), False) for p in network.parameters()}
        self.twin: Any = copy.deepcopy(network, empty)
        layers = [
            layer
            for child in network.children()
            for layer in (child if isinstance(child, nn.ModuleList) else [child])
            if any(True for _ in layer.parameters())
        ]
        for module in (*layers, network):
            part: Any = fully_shard(module, reshard_after_forward=True)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
        self.network = network

    @contextmanager
    def whole(self, values: Mapping[str, Tensor]) -> Iterator[nn.Module]:
        """The whole network, with `values` in place of its own where given; all processes enter together."""
        twins = dict(self.twin.named_parameters())
        try:
            for name, p in self.network.named_parameters():
                twins[name].data = joined(values.get(name, p.data))
            yield self.twin
        finally:
            for twin in twins.values():
                twin.data = twin.data.new_empty(0)


def joined(tensor: Tensor) -> Tensor:
    """The whole of a tensor of which this process has a piece; all processes ask together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def pieces(tensor: Tensor) -> Tensor:
    """This process's piece, sharing memory; a whole tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def cut_like(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`, cut up as that is if it has its shape."""
    whole = whole.to(like.device)
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def exchange(a: Tensor, b: Tensor) -> None:
    """The values of two tensors, one for the other: by reference, but for pieces, whose place is known."""
    if not isinstance(a, DTensor):
        a.data, b.data = b.data, a.data
        return
    a, b = pieces(a), pieces(b)
    kept = a.clone()
    a.copy_(b)
    b.copy_(kept)
