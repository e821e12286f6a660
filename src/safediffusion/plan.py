"""What a run is going to do, before it does it: the numbers `--dry-run` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .config import RunConfig
from .errors import UserError

if TYPE_CHECKING:
    from .diffusion.diffuser import Diffuser

FLOAT = 4  # bytes; what is trained, its gradients and its optimizer state are float32
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

    def __str__(self) -> str:
        share = self.trainable / self.parameters
        return "\n".join(
            (
                f"trainable parameters   {self.trainable:,} of {self.parameters:,} ({share:.1%})",
                f"images per step        {self.images_per_step:,}",
                f"updates per step       {self.updates_per_step:,}",
                f"optimizer steps in all {self.optimizer_steps:,}",
                f"memory, estimated      {self.memory_mib:,} MiB for weights, optimizer and activations",
            )
        )


def make_plan(config: RunConfig, diffuser: Diffuser) -> Plan:
    """Sizes of a run; makes the diffuser's parameters trainable on the way."""
    pipeline = diffuser.pipeline
    modules = [module for module in pipeline.components.values() if isinstance(module, torch.nn.Module)]
    every = [p for module in modules for p in module.parameters()]
    parameters, weights = sum(p.numel() for p in every), sum(p.nbytes for p in every)
    trained = diffuser.make_trainable(config.train.lora_rank)
    trainable = sum(p.numel() for p in trained.values())
    return Plan(
        parameters=parameters,
        trainable=trainable,
        images_per_step=config.rollout.prompts * config.rollout.group_size,
        updates_per_step=config.train.updates,
        optimizer_steps=config.train.steps * config.train.updates,
        memory_mib=round(_memory(config, diffuser, weights, trainable) / MIB),
    )


def check_steps(config: RunConfig, diffuser: Diffuser) -> None:
    """Refuse more denoising steps than the model's noise schedule has."""
    most = diffuser.scheduler.config["num_train_timesteps"]
    for key, steps in (("rollout.steps", config.rollout.steps), ("evaluate.steps", config.evaluate.steps)):
        if steps > most:
            raise UserError(
                f"{key} is {steps}, but the model's scheduler has {most}; set {key} to {most} or less"
            )


def _memory(config: RunConfig, diffuser: Diffuser, weights: int, trainable: int) -> int:
    """Bytes: weights, a gradient and two Adam moments each, copies, one backward pass, stored latents."""
    full, train = config.train.lora_rank == 0, config.train
    copies = (train.algorithm == "nft") + (train.kl > 0 and full) + (train.ema > 0)
    rows = min(train.micro_batch, config.rollout.prompts * config.rollout.group_size)
    guided = train.algorithm == "grpo" and train.cfg_update
    activations = rows * _activations(diffuser, config.rollout.guidance if guided else 1.0)
    images = config.rollout.prompts * config.rollout.group_size
    latents = images * (config.rollout.steps + 1) * torch.Size(diffuser.latent_shape).numel()
    return weights + FLOAT * (trainable * (3 + copies) + latents) + activations


def _activations(diffuser: Diffuser, guidance: float) -> int:
    """Bytes that autograd keeps for one row, measured on one forward pass."""
    weights = {_storage(p) for p in diffuser.network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    latents = torch.zeros(1, *diffuser.latent_shape, device=diffuser.device)
    t = diffuser.process.timestep(torch.ones(1, dtype=torch.long, device=diffuser.device))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        diffuser.predict(latents, t, diffuser.encode([""]), guidance)
    return sum(kept.values())


def _storage(tensor: Tensor) -> int:
    """What tells storages apart, of real tensors and of those that only have a shape."""
    return StorageWeakRef(tensor.untyped_storage()).cdata


def preview(config: RunConfig) -> Plan:
    """The plan of a run on this machine; loads prompts and model, writes nothing.

    Models of a known architecture are not even loaded: their shapes are enough.
    """
    from .diffusion.load import load_policy, shapes_of
    from .prompts import load_prompts, prompt_batch
    from .runs import pick_device

    prompt_batch(len(load_prompts(config.prompts.path)), config.seed, 0, config.rollout.prompts)
    diffuser = shapes_of(config.model, pick_device()) or load_policy(config.model, pick_device())
    check_steps(config, diffuser)
    if config.train.recompute:
        network: Any = diffuser.network
        network.enable_gradient_checkpointing()
    return make_plan(config, diffuser)
