"""Communication between the processes of a run; with a single process every function is the identity.

Every process samples, scores and learns from its own groups. Values that are compared, averaged or summed
over all images go through this module. Torchrun, accelerate or `--nproc` starts the processes.
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
from safediffusion.system.launched import launched_count

T = TypeVar("T")

# One process may evaluate or export alone while the others wait at a barrier. A process that died is detected
# by its closed connections and by the launcher, not by this limit.
PATIENCE = timedelta(hours=2)
SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")


def initialize() -> None:
    """Set up communication if a launcher started several processes.

    Raises:
        UserError: accelerate was set to shard the network itself.
        RunError: the other processes cannot be reached.
    """
    if launched_count() == 1 or dist.is_initialized():
        return
    if any(os.environ.get(name, "false").lower() == "true" for name in SHARDED):
        raise UserError(
            "accelerate's FSDP and DeepSpeed modes are not used here: set train.shard=true for a sharded "
            "network, and launch with --nproc or accelerate's plain multi-GPU mode"
        )
    from accelerate import PartialState

    with lost_process_errors():
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def shut_down() -> None:
    """End the communication once all processes have come to the end."""
    if dist.is_initialized():
        barrier()
        dist.destroy_process_group()


def count() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def describe_count(n: int) -> str:
    """ "1 process" or "2 processes"."""
    return "1 process" if n == 1 else f"{n} processes"


def is_main() -> bool:
    """Whether this is the main process, rank 0, which writes files."""
    return rank() == 0


def share(groups: int) -> range:
    """The groups of this process, in order; numbers of groups differ by at most one between processes."""
    n, here = count(), rank()
    return range(groups * here // n, groups * (here + 1) // n)


@contextmanager
def lost_process_errors() -> Iterator[None]:
    """Turn torch's error about a lost connection into one line.

    Raises:
        RunError: another process ended or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"process {rank()} lost the others: one ended or cannot be reached; "
            "the same command goes on from the last checkpoint"
        ) from error


def barrier() -> None:
    """Wait until all processes have come here."""
    all_gather_object(None)


def is_main_after_barrier() -> bool:
    """Wait until all processes have written their files; True in the one that merges them."""
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
    """The concatenated tensors of all processes; their sizes along `dim` may differ."""
    if count() == 1:
        return tensor
    return torch.cat(all_gather_object(tensor.cpu()), dim).to(tensor.device)


def mean(values: Mapping[str, float], weight: int) -> dict[str, float]:
    """Means over all processes, weighted."""
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
