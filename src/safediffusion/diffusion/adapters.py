"""Where an adapter is placed, and how one is recognised that was given where a model is expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from safediffusion.diffusion.tensor_files import tensor_names
from safediffusion.errors import UserError
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten

MARKS = (
    ".lora_",
    "lora_down",
    "lora_up",
    "lora_A",
    "lora_B",
    "lora.down",
    "lora.up",
    "hada_",
    "lokr_",
    "dora_scale",
)
USUAL = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json")


def check_targets(network: nn.Module, usual: Sequence[str], targets: Sequence[str]) -> None:
    """Hold train.lora_targets to the layers that an adapter of this family can be on.

    Exports know these layers only, so a target may be fewer of them and nothing else.

    Args:
        network: with or without an adapter.
        usual: ends of the names of the layers that the family's adapter is on.
        targets: the setting.

    Raises:
        UserError: a target is not the end of the name of such a layer, or of others too.
    """
    modules = [name for name, _ in network.named_modules()]
    layers = set(ending(modules, usual))
    for target in targets:
        if not (found := ending(modules, [target])) or not layers.issuperset(found):
            parts = {
                f"{name.removesuffix(end).rpartition('.')[0].rpartition('.')[2]}.{end}"
                for end in usual
                for name in ending(layers, [end])
            }
            hint = did_you_mean(target, [*sorted(parts), *usual])
            raise UserError(f"train.lora_targets has {shorten(target)}, which ends no such layer; {hint}")


def layer_names(network: nn.Module) -> list[str]:
    """Names of the modules of a network that hold no others."""
    return [name for name, module in network.named_modules() if not any(module.children())]


def ending(modules: Iterable[str], ends: Sequence[str]) -> list[str]:
    """The modules whose name is one of the ends, or ends in a dot and one of them."""
    return [name for name in modules if any(f".{name}".endswith(f".{end}") for end in ends)]


def refuse_adapter(path: Path) -> None:
    """Refuse a file that is an adapter, or a folder that holds one.

    Raises:
        UserError: what it is, and how to make a model of it.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if any((path / name).is_file() for name in USUAL) or any(map(is_adapter, files)):
        raise UserError(
            f"model.path={path} is a LoRA adapter, which changes a model and is not one itself. Set "
            "model.path to its base; to train on from it, merge it once in diffusers: load_lora_weights, "
            "fuse_lora, unload_lora_weights, save_pretrained"
        )


def is_adapter(file: Path) -> bool:
    """Whether a safetensors file has the names of an adapter."""
    try:
        names = tensor_names(file)
    except (OSError, ValueError, EOFError):
        return False
    return bool(names) and all(
        any(mark in name for mark in MARKS)
        or name.startswith(("lora_", "lycoris_"))
        or name.endswith(".alpha")
        for name in names
    )
