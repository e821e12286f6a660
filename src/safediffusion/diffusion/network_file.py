"""Writes a trained network's file tensor by tensor, so that no second network has to fit in memory.

The format of safetensors is written here, as its library takes all tensors of a file at once: eight bytes
with the header's length, the header in JSON, the tensors one behind the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.constants import SAFE_WEIGHTS_INDEX_NAME, SAFETENSORS_WEIGHTS_NAME
from huggingface_hub import split_torch_state_dict_into_shards
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from torch import Tensor, nn

from safediffusion.diffusion.tensor_files import tensor_names
from safediffusion.files.atomic import write_json

Values = Callable[[str], Tensor]  # by name
SHARD = "10GB"  # as diffusers splits a network's file
TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def plain_tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors under the names that they have without an adapter, and without the adapter's."""
    return {
        name.replace(".base_layer.", ".", 1): tensor
        for name, tensor in network.state_dict().items()
        if ".lora_" not in name
    }


def stored(files: Sequence[Path], names: set[str]) -> Values | None:
    """Reads tensors out of safetensors files one at a time; None if the files have not all these names."""
    if any(file.suffix == ".bin" for file in files):
        return None
    weights = [file for file in files if file.suffix == ".safetensors"]
    places = {name: file for file in weights for name in tensor_names(file)}
    if not names <= places.keys():
        return None

    def read(name: str) -> Tensor:
        # opened for each tensor, as an open file stays in memory as far as it was read
        with safe_open(places[name], "pt") as file:
            return file.get_tensor(name)

    return read


def merged(trained: nn.Module, base: Values) -> Values:
    """The base's tensors plus the adapter's B A, added in float32.

    Half precision would lose a part of the adapter: its values are smaller than the steps between the base's.
    So they are added to the weights of the base's file, read again, even where training kept them in half
    precision: rounding is no part of what was learned.
    """
    layers: dict[str, Any] = {
        f"{name}.weight": layer
        for name, layer in trained.named_modules()
        if isinstance(layer, BaseTunerLayer)
    }

    def value(name: str) -> Tensor:
        tensor = base(name).cpu()
        if name not in layers:
            return tensor
        layer = layers[name]
        return sum((layer.get_delta_weight(a).float().cpu() for a in layer.active_adapters), tensor.float())

    return value


@torch.no_grad()
def write_network(folder: Path, like: Mapping[str, Tensor], value: Values, dtype: torch.dtype) -> None:
    """Write a network's weights under diffusers' names, in several files where they are large.

    Args:
        folder: of the part.
        like: tensors of the shapes that are written.
        value: gives each of them.
        dtype: of those that hold floating-point numbers.
    """
    forms = {
        name: torch.empty(t.shape, dtype=dtype if t.is_floating_point() else t.dtype, device="meta")
        for name, t in like.items()
    }
    stem = SAFETENSORS_WEIGHTS_NAME.removesuffix(".safetensors")
    split = split_torch_state_dict_into_shards(
        forms, filename_pattern=f"{stem}{{suffix}}.safetensors", max_shard_size=SHARD
    )
    for file, names in split.filename_to_tensors.items():
        write_tensors_in_turn(folder / file, {name: forms[name] for name in sorted(names)}, value)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_json(folder / SAFE_WEIGHTS_INDEX_NAME, index)


def write_tensors_in_turn(path: Path, forms: Mapping[str, Tensor], value: Values) -> None:
    """Write a safetensors file whose tensors are asked for one by one, and cast to their forms' types."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, form in forms.items():
        start, end = end, end + form.numel() * form.element_size()
        header[name] = {
            "dtype": TYPES[form.dtype],
            "shape": list(form.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, form in forms.items():
            tensor = value(name).to("cpu", form.dtype).contiguous()
            assert tensor.shape == form.shape, name
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
