"""Recognises a LoRA adapter that was given where a model is expected."""

from __future__ import annotations

from pathlib import Path

from safediffusion.diffusion.tensor_files import tensor_names
from safediffusion.errors import UserError

MARKS = (".lora_", "lora_down", "lora_up", "lora_A", "lora_B", "lora.down", "lora.up", "hada_", "lokr_")
USUAL = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json")


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
        any(mark in name for mark in MARKS) or name.endswith(".alpha") for name in names
    )
