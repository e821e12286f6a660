"""How much work a round of training is, counted on the model's shapes: what time and memory follow from.

Nothing is run: on the meta device a known model is counted without weights. See docs/scaling.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .config import RunConfig
from .plan import MIB, make_plan

if TYPE_CHECKING:
    from .diffusion.diffuser import Diffuser


@dataclass(frozen=True)
class Work:
    """A round's work on the busiest of its devices.

    Attributes:
        sample_flops: of the network while sampling; guidance by two passes is in it.
        sample_calls: of the network while sampling.
        decode_flops: of the autoencoder's decoder.
        images: drawn, decoded and scored.
        update_flops: of the network in the update, backward passes and recomputed activations included.
        update_calls: of the network in the update, each with or without its backward pass.
        elements: trained parameters times optimizer steps.
        reduced: of these, sent and received to sum gradients by a ring over the devices.
        held_mib: weights, gradients, optimizer, copies and stored latents.
        kept_mib: what autograd keeps of a micro-batch.
    """

    sample_flops: float
    sample_calls: float
    decode_flops: float
    images: float
    update_flops: float
    update_calls: float
    elements: float
    reduced: float
    held_mib: float
    kept_mib: float

    def as_json(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


def count_work(config: RunConfig, diffuser: Diffuser, devices: int = 1) -> Work:
    """The work of a round; makes the diffuser's parameters trainable on the way.

    Args:
        config: of the run.
        diffuser: the model, on any device; meta is enough.
        devices: that share the round's prompts.
    """
    r, train = config.rollout, config.train
    plan = make_plan(config, diffuser, devices)
    if train.recompute:
        diffuser.recompute_activations()
    images = -(-r.prompts // devices) * r.group_size
    rows, frozen, guidance = learned_rows(config, images, diffuser.distilled)
    together = -(-rows // train.updates)  # in an optimizer step
    frozen_flops, learned_flops, kept = network_cost(diffuser, guidance)
    elements = plan.trainable * train.updates
    return Work(
        sample_flops=sampled_rows(config, images) * network_cost(diffuser, r.guidance)[0],
        sample_calls=r.steps * -(-images // r.batch_size),
        decode_flops=images * decoder_flops(diffuser),
        images=images,
        update_flops=rows * (frozen * frozen_flops + learned_flops),
        update_calls=(1 + frozen) * train.updates * -(-together // train.micro_batch),
        elements=elements,
        reduced=elements * 2 * (devices - 1) / devices,
        held_mib=plan.memory_mib,
        kept_mib=min(train.micro_batch, together) * kept / MIB,
    )


def sampled_rows(config: RunConfig, images: int) -> float:
    """Rows that a round's sampling passes; those before the window, wherever it lies, once a branch."""
    r = config.rollout
    opening = (r.steps - config.train.window) / 2 if r.branches else 0
    return images * (r.steps - opening + opening / config.branch_size)


def learned_rows(config: RunConfig, images: int, distilled: bool) -> tuple[int, int, float]:
    """Rows with a gradient in a round's update, forward passes without one beside each, their guidance."""
    r, train = config.rollout, config.train
    reference = int(train.keeps_reference)
    if train.algorithm != "grpo":
        old = int(config.keeps_old_copy)
        return images * train.updates, old + reference, r.guidance if distilled else 1.0
    steps = max(1, round(train.timestep_fraction * (train.window or r.steps)))
    return images * steps, reference, r.guidance if train.cfg_update or distilled else 1.0


def network_cost(diffuser: Diffuser, guidance: float) -> tuple[float, float, float]:
    """Of one row: FLOPs forward, FLOPs forward and backward, bytes that autograd keeps in between."""
    device = diffuser.device
    latents = torch.zeros(1, *diffuser.latent_shape, device=device)
    t = diffuser.process.timestep(torch.ones(1, dtype=torch.long, device=device))
    cond = diffuser.encode([""])
    with torch.no_grad():
        diffuser.predict(latents, t, cond, guidance)  # encodes the empty prompt, once in a run
        with FlopCounterMode(display=False) as counter:
            diffuser.predict(latents, t, cond, guidance)
    forward = counter.get_total_flops()
    kept: dict[int, int] = {}
    weights = {p.untyped_storage()._cdata for p in diffuser.network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = diffuser.predict(latents, t, cond, guidance)
        output.sum().backward()
    diffuser.network.zero_grad(set_to_none=True)
    return forward, counter.get_total_flops(), sum(kept.values())


def decoder_flops(diffuser: Diffuser) -> float:
    """FLOPs to decode one image."""
    latents = torch.zeros(1, *diffuser.latent_shape, device=diffuser.device)
    with FlopCounterMode(display=False) as counter:
        diffuser.decode(latents)
    return counter.get_total_flops()
