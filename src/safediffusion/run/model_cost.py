"""The cost of one row of a model (forward, backward, decoding) and the sizes of its parts.

Models of a known architecture are counted by their shapes, without weights; so are large ones that have them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from safediffusion.config.inputs import ModelConfig
from safediffusion.run.counting import Cost, cost_of

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser

LARGE = 100_000_000  # weights; running such a network for a plan would take too long


@dataclass(frozen=True)
class ModelCost:
    """The cost of a model that is to be trained.

    Attributes:
        parameters: of all its parts.
        trainable: of these, trained.
        weights: bytes of all parts.
        text: of these, the text encoders'.
        network: of these, the trained network's.
        latent: values of an image's latents.
        distilled: whether the network is told the guidance.
        drawn: a row of the network without a gradient.
        learned: a row forward and backward.
        decoded: an image from its latents.
        pixels: values of a decoded image.
    """

    parameters: int
    trainable: int
    weights: int
    text: int
    network: int
    latent: int
    distilled: bool
    drawn: Cost
    learned: Cost
    decoded: Cost
    pixels: int


def model_cost(
    diffuser: Diffuser, lora_rank: int, recompute: bool, lora_targets: tuple[str, ...] = ()
) -> ModelCost:
    """Count the cost of a model; its network becomes trainable.

    Args:
        diffuser: on the meta device or any other, where a few rows are really computed.
        lora_rank: of the adapter; 0 trains the whole network.
        recompute: whether activations are computed again in the backward pass.
        lora_targets: ends of the names of the layers that get an adapter; none: the family's.
    """
    return replace(
        network_cost(diffuser, lora_rank, recompute, lora_targets), decoded=decoding_cost(diffuser)
    )


def network_cost(
    diffuser: Diffuser, lora_rank: int, recompute: bool, lora_targets: tuple[str, ...]
) -> ModelCost:
    """See `model_cost`; decoding is left out."""
    from safediffusion.diffusion.diffuser import is_encoder

    parts = {k: p for k, p in diffuser.pipeline.components.items() if isinstance(p, nn.Module)}
    weights = {name: sum(p.nbytes for p in part.parameters()) for name, part in parts.items()}
    parameters = sum(p.numel() for part in parts.values() for p in part.parameters())
    network = sum(p.nbytes for p in diffuser.network.parameters())
    trained = diffuser.make_trainable(lora_rank, targets=lora_targets)
    if recompute:
        diffuser.recompute_activations()
    own = list(diffuser.network.parameters())
    cond = diffuser.encode([""])

    def predict(rows: int) -> Tensor:
        t = diffuser.process.timestep(torch.ones(rows, dtype=torch.long, device=diffuser.device))
        return diffuser.predict(latents(diffuser, rows), t, cond.expand(rows), 1.0)

    return ModelCost(
        parameters=parameters,
        trainable=sum(p.numel() for p in trained.values()),
        weights=sum(weights.values()),
        text=sum(weights[name] for name, part in parts.items() if is_encoder(name, part)),
        network=network,
        latent=torch.Size(diffuser.latent_shape).numel(),
        distilled=diffuser.distilled,
        drawn=cost_of(predict, own),
        learned=cost_of(predict, own, learns=True),
        decoded=Cost(0, 0, 0),
        pixels=3 * diffuser.resolution**2,
    )


def decoding_cost(diffuser: Diffuser) -> Cost:
    """The cost of an image from its latents."""
    decoder: Any = diffuser.pipeline.vae
    return cost_of(lambda rows: diffuser.decode(latents(diffuser, rows)), decoder.parameters())


def latents(diffuser: Diffuser, rows: int) -> Tensor:
    """Latents for this many images, all 0."""
    return torch.zeros(rows, *diffuser.latent_shape, device=diffuser.device)


@cache
def known_network(
    model: str, lora_rank: int, recompute: bool, lora_targets: tuple[str, ...]
) -> tuple[Diffuser, ModelCost] | None:
    """The cost of a known architecture's network by its settings as JSON; None for other models."""
    from safediffusion.diffusion.load import shapes_of

    diffuser = shapes_of(ModelConfig.model_validate_json(model))
    return diffuser and (diffuser, network_cost(diffuser, lora_rank, recompute, lora_targets))


@cache
def known_decoding(model: str) -> Cost:
    """The cost of a known architecture's decoder by its settings as JSON."""
    from safediffusion.diffusion.load import shapes_of

    diffuser = shapes_of(ModelConfig.model_validate_json(model))
    assert diffuser
    return decoding_cost(diffuser)


def known_cost(
    model: ModelConfig, lora_rank: int, recompute: bool, lora_targets: tuple[str, ...] = ()
) -> tuple[Diffuser, ModelCost] | None:
    """The cost of a model of a known architecture; None for other models.

    Network and decoder are counted apart, as presets share the one or the other.
    """
    shapes = model.model_copy(update={"offload": False, "tiny_vae": None})
    whole, stored = shapes.model_copy(update={"vae": "whole"}), {"storage": "fp32", "dtype": "auto"}
    if not (found := known_network(whole.model_dump_json(), lora_rank, recompute, lora_targets)):
        return None
    decoded = known_decoding(shapes.model_copy(update=stored).model_dump_json())
    return found[0], replace(found[1], decoded=decoded)


def planned_cost(
    model: ModelConfig, lora_rank: int, recompute: bool, lora_targets: tuple[str, ...] = ()
) -> tuple[Diffuser, ModelCost]:
    """A model and its cost, without loading its weights where the architecture is known.

    Only a small one comes back with the adapter in it that was counted, and on a device with content.
    """
    from safediffusion.diffusion.load import load_model, without_content
    from safediffusion.system.device import pick_device

    if known := known_cost(model, lora_rank, recompute, lora_targets):
        return known
    diffuser = load_model(model, pick_device())
    if sum(p.numel() for p in diffuser.network.parameters()) > LARGE:
        diffuser = without_content(diffuser, model)
        return diffuser, model_cost(like(diffuser, model), lora_rank, recompute, lora_targets)
    return diffuser, model_cost(diffuser, lora_rank, recompute, lora_targets)


def cost_with(
    diffuser: Diffuser, model: ModelConfig, lora_rank: int, recompute: bool, lora_targets: tuple[str, ...]
) -> ModelCost | None:
    """The cost of a planned model with other settings; None for a small one, which would be run again.

    Args:
        diffuser: that `planned_cost` gave.
        model: with the other settings.
        lora_rank, recompute, lora_targets: see `model_cost`.
    """
    if known := known_cost(model, lora_rank, recompute, lora_targets):
        return known[1]
    if diffuser.device.type != "meta":
        return None
    return model_cost(like(diffuser, model), lora_rank, recompute, lora_targets)


def like(diffuser: Diffuser, model: ModelConfig) -> Diffuser:
    """A copy of a model without content, stored and decoded as these settings say."""
    from safediffusion.diffusion.load import with_shapes

    pipeline = copy.copy(diffuser.pipeline)
    parts = {k: copy.deepcopy(p) for k, p in pipeline.components.items() if isinstance(p, nn.Module)}
    pipeline.register_modules(**parts)
    return with_shapes(pipeline, model)
