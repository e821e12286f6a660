"""How much of what a run learned is in its weights: 0 is the base, 1 the trained model, and beyond."""

from pathlib import Path

import torch
from torch import nn

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_model
from safediffusion.errors import UserError


def load_at_strength(
    base: ModelConfig, trained: str | Path, strength: float, device: str | torch.device = "cpu"
) -> Diffuser:
    """The trained model with W = W_base + strength (W_trained - W_base) as the weights of its network.

    For a low-rank adapter that is W_base + strength B A, its scale (Hu et al., 2022, section 4.1).

    Args:
        base: what the run was trained from, and how its models are loaded.
        trained: the pipeline folder of its result.
        strength: 0 is the base and 1 the trained model, both bit for bit.
        device: where the model runs; the base is read on the CPU.

    Raises:
        UserError: the base has other weights than the model that was trained from it.
    """
    plain = base.model_copy(update={"tiny_vae": None})
    diffuser = load_model(plain.at(str(trained)), device, merged=True)
    start = load_model(plain, "cpu", merged=True).network
    if _shapes(start) != _shapes(diffuser.network):
        raise UserError(
            f"{base.path} is not what {trained} was trained from: its network has other weights; put the "
            "base back where the run found it"
        )
    blend(start, diffuser.network, strength)
    return diffuser


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in network.named_parameters()}


@torch.no_grad()
def blend(base: nn.Module, trained: nn.Module, strength: float) -> None:
    """Move a network's weights from the trained ones to those at a strength, in place.

    Args:
        base, trained: two networks with the same weights' names and shapes.
        strength: 0 copies the base's and 1 changes nothing, so that no bit is lost at either.
    """
    starts = dict(base.named_parameters())
    for name, p in trained.named_parameters():
        start = starts[name].to(p.device, p.dtype)
        if strength == 0:
            p.copy_(start)
        elif strength != 1:
            p.copy_(start.lerp(p, strength))
