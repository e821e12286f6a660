"""What the processes of one run tell each other. A run of one process passes through everything unchanged.

Every process holds the whole network and draws, scores and learns from its own groups; what is compared,
averaged or summed over all images goes through here. Torchrun, accelerate or `--nproc` starts them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from safediffusion.errors import RunError, UserError

T = TypeVar("T")

# One process may judge or export alone while the others wait; that a process died is not found out by
# this limit, but by its closed connections and by the launcher.
PATIENCE = timedelta(hours=2)
SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")


def initialize() -> None:
    """Join the other processes, if a launcher started several."""
    if launched_count() == 1 or dist.is_initialized():
        return
    if any(os.environ.get(name, "false").lower() == "true" for name in SHARDED):
        raise UserError(
            "accelerate's FSDP and DeepSpeed modes are not used here: set train.shard=true for a network in "
            "pieces, and launch with --nproc or accelerate's plain multi-GPU mode"
        )
    from accelerate import PartialState

    with lost_process_errors():
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def shut_down() -> None:
    """Leave, once all have come to the end."""
    if dist.is_initialized():
        barrier()
        dist.destroy_process_group()


def launched_count() -> int:
    """How many processes the launcher started, whether or not they have joined a process group."""
    return int(os.environ.get("WORLD_SIZE", 1))


def launched_rank() -> int:
    """This process's number among those that the launcher started, from 0."""
    return int(os.environ.get("RANK", 0))


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def describe_count(n: int) -> str:
    """ "1 process" or "2 processes"."""
    return "1 process" if n == 1 else f"{n} processes"


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def share(groups: int) -> range:
    """The groups of this process: as many as the others' or one more or less, in order, never split."""
    n, here = count(), rank()
    return range(groups * here // n, groups * (here + 1) // n)


@contextmanager
def lost_process_errors() -> Iterator[None]:
    """Say in one line that a process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"process {rank()} lost the others: one ended or cannot be reached; "
            "the same command goes on from the last checkpoint"
        ) from error


def barrier() -> None:
    """Go on when all have come here."""
    all_gather_object(None)


def is_main_after_barrier() -> bool:
    """Wait for the others' files; true in the one process that is to put them together."""
    barrier()
    return dist.is_initialized() and is_main()


def all_gather_object(value: T) -> list[T]:
    """The values of all processes, in order; tensors in them must be on the CPU."""
    if count() == 1:
        return [value]
    values: list[T] = [value] * count()
    with lost_process_errors():
        dist.all_gather_object(values, value)
    return values


def all_gather(tensor: Tensor, dim: int = 0) -> Tensor:
    """The tensors of all processes one after the other; their sizes along `dim` may differ."""
    if count() == 1:
        return tensor
    return torch.cat(all_gather_object(tensor.cpu()), dim).to(tensor.device)


def mean(values: Mapping[str, float], weight: int) -> dict[str, float]:
    """Means over all processes, each counting by its weight."""
    if count() == 1:
        return dict(values)
    parts = all_gather_object((weight, values))
    total = sum(w for w, _ in parts)
    return {name: sum(w * own[name] for w, own in parts) / total for name in values}


def all_reduce_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes."""
    if count() == 1:
        return
    for p in parameters:
        if p.grad is None:  # this process had no row in the optimizer step
            p.grad = torch.zeros_like(p)
    with lost_process_errors():
        works: list[Any] = [dist.all_reduce(p.grad, async_op=True) for p in parameters]
        for work in works:
            work.wait()
