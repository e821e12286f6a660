"""What a run is going to do, before it does it: the numbers `--dry-run` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .config import RunConfig
from .preflight import check_config, check_model
from .prompts import load_prompts, source_sizes
from .training.optimizer import MOMENTS

if TYPE_CHECKING:
    from .diffusion.diffuser import Diffuser

FLOAT = 4  # bytes; what is trained and its gradients are float32
MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """The size of a run."""

    parameters: int
    trainable: int
    images_per_step: int
    updates_per_step: int
    optimizer_steps: int
    memory_mib: int
    activations_mib: int | None  # None: not measured, as the weights are not at hand

    def __str__(self) -> str:
        share = self.trainable / self.parameters
        if self.activations_mib is None:
            memory = f"{self.memory_mib:,} MiB for weights and optimizer; activations come on top"
        else:
            memory = f"{self.memory_mib + self.activations_mib:,} MiB for weights, optimizer and activations"
        return "\n".join(
            (
                f"trainable parameters   {self.trainable:,} of {self.parameters:,} ({share:.1%})",
                f"images per step        {self.images_per_step:,}",
                f"updates per step       {self.updates_per_step:,}",
                f"optimizer steps in all {self.optimizer_steps:,}",
                f"memory, estimated      {memory}",
            )
        )


def make_plan(config: RunConfig, diffuser: Diffuser, processes: int = 1) -> Plan:
    """Sizes of a run, memory that of one of its processes; makes the diffuser's parameters trainable."""
    pipeline = diffuser.pipeline
    modules = [module for module in pipeline.components.values() if isinstance(module, torch.nn.Module)]
    every = [p for module in modules for p in module.parameters()]
    parameters, weights = sum(p.numel() for p in every), sum(p.nbytes for p in every)
    trained = diffuser.make_trainable(config.train.lora_rank)
    trainable = sum(p.numel() for p in trained.values())
    shapes_only = diffuser.device.type == "meta"
    return Plan(
        parameters=parameters,
        trainable=trainable,
        images_per_step=config.rollout.prompts * config.rollout.group_size,
        updates_per_step=config.train.updates,
        optimizer_steps=config.train.steps * config.train.updates,
        memory_mib=round(_memory(config, diffuser, weights, trainable, processes) / MIB),
        activations_mib=None if shapes_only else round(_backward_pass(config, diffuser) / MIB),
    )


def _memory(config: RunConfig, diffuser: Diffuser, weights: int, trainable: int, processes: int) -> float:
    """Bytes: weights, a gradient and two moments each, copies, stored latents.

    Pieces of the network are counted beside the whole of it, which sampling needs.
    """
    full, train = config.train.lora_rank == 0, config.train
    copies = config.keeps_old_copy + (train.keeps_reference and full) + (train.ema > 0)
    images = -(-config.rollout.prompts // processes) * config.rollout.group_size
    stored = (config.rollout.steps + 1) * (1 if train.trust_region is None else 2)
    latents = images * stored * torch.Size(diffuser.latent_shape).numel()
    learned = (MOMENTS[train.optimizer] + FLOAT * (1 + copies)) * trainable
    if train.shard and processes > 1:
        learned = (learned + sum(p.nbytes for p in diffuser.network.parameters())) / processes
    return weights + learned + FLOAT * latents


def _backward_pass(config: RunConfig, diffuser: Diffuser) -> int:
    """Bytes that autograd keeps for a micro-batch."""
    rows = min(config.train.micro_batch, config.rollout.prompts * config.rollout.group_size)
    guided = config.train.algorithm == "grpo" and config.train.cfg_update
    return rows * _activations(diffuser, config.rollout.guidance if guided else 1.0)


def _activations(diffuser: Diffuser, guidance: float) -> int:
    """Bytes that autograd keeps for one row, measured on one forward pass."""
    weights = {p.data_ptr() for p in diffuser.network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    latents = torch.zeros(1, *diffuser.latent_shape, device=diffuser.device)
    t = diffuser.process.timestep(torch.ones(1, dtype=torch.long, device=diffuser.device))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        diffuser.predict(latents, t, diffuser.encode([""]), guidance)
    return sum(kept.values())


def preview(config: RunConfig, processes: int = 1) -> Plan:
    """The plan of a run on this machine; loads prompts and model, writes nothing.

    Models of a known architecture are not even loaded: the shapes of their weights are enough.
    """
    from .diffusion.load import load_policy, shapes_of
    from .runs import pick_device

    check_config(config, source_sizes(load_prompts(config.prompts).rows))
    diffuser = shapes_of(config.model) or load_policy(config.model, pick_device())
    check_model(config, diffuser, processes)
    return make_plan(config, diffuser, processes)
