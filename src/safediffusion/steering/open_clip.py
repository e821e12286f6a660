"""OpenCLIP's checkpoints as transformers' CLIPModel: the same network under other names.

ViT-H/14 alone (HPSv2 and its base): neither the number of heads nor the activation is in the file.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from safediffusion.diffusion.tensor_files import check_file
from safediffusion.errors import UserError

State = dict[str, Tensor]

HEADS = 16  # of both towers of ViT-H/14
VIT_H = {"visual.conv1.weight": (1280, 3, 14, 14), "text_projection": (1024, 1024)}

WHOLE = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
}
TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # transformers' own spelling
    "visual.ln_post": "vision_model.post_layernorm",
}
TOWERS = {"": "text_model", "visual.": "vision_model"}
IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
LAYER = re.compile(
    r"(visual\.)?transformer\.resblocks\.(\d+)\."
    r"(ln_1|ln_2|attn\.in_proj|attn\.out_proj|mlp\.c_fc|mlp\.c_proj)[._](weight|bias)"
)


def read_state(path: Path) -> State:
    """The tensors of a .safetensors, .pt or .bin checkpoint; a file that needs code to load is refused."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"reward.encoder={path} does not exist; give an existing file") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors, and loading it could run code; give a .safetensors file"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        check_file(path)
        raise UserError(f"{path} is not a complete checkpoint; download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold tensors by name; give a checkpoint")
    return content.get("state_dict", content)


def require_vit_h(state: State, path: Path) -> None:
    """Refuse other architectures: their heads and activations differ, and no error would show it."""
    for key, shape in VIT_H.items():
        found = tuple(state[key].shape) if key in state else None
        if found != shape:
            raise UserError(
                f"{path} is not an OpenCLIP ViT-H/14: {key} is {found or 'missing'}, not {shape}; "
                "give HPS_v2.1_compressed.pt, or a transformers folder of another CLIP"
            )


def clip_model(state: State, heads: int = HEADS) -> CLIPModel:
    """A CLIPModel with an OpenCLIP checkpoint's weights, in float32.

    Args:
        state: OpenCLIP's tensors by name.
        heads: attention heads of both towers.
    """
    weights = {name: tensor.float() for name, tensor in clip_state(state).items()}
    read: Any = CLIPModel.from_pretrained(
        None, config=clip_config(state, heads), state_dict=weights, output_loading_info=True
    )
    model, loaded = read
    if wrong := sorted(loaded["missing_keys"] | loaded["unexpected_keys"]):
        raise UserError(f"the OpenCLIP checkpoint is not complete, for example {wrong[0]}; download it again")
    return model


def clip_state(state: State) -> State:
    """CLIPModel's tensors from OpenCLIP's."""
    return {name: tensor for key, value in state.items() for name, tensor in _renamed(key, value)}


def clip_config(state: State, heads: int) -> CLIPConfig:
    """The architecture that a checkpoint's shapes imply; the activation is GELU, which no shape shows.

    transformers' default for CLIP is QuickGELU, OpenAI's approximation. OpenCLIP's ViT-H/14 was trained with
    the exact GELU; with the other one, embeddings would be wrong and no error would show it.
    """
    conv, tokens = state["visual.conv1.weight"], state["token_embedding.weight"]
    grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    text = _tower(state, "", heads) | {
        "vocab_size": len(tokens),
        "max_position_embeddings": len(state["positional_embedding"]),
        "bos_token_id": len(tokens) - 2,
        "eos_token_id": len(tokens) - 1,  # OpenCLIP pools at the highest id
    }
    vision = _tower(state, "visual.", heads) | {
        "patch_size": conv.shape[-1],
        "image_size": conv.shape[-1] * grid,
    }
    projection = state["text_projection"].shape[1]
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)


def _tower(state: State, prefix: str, heads: int) -> dict[str, Any]:
    first = f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"
    layers = sum(bool(re.fullmatch(rf"{prefix}transformer\.resblocks\.\d+\.ln_1\.weight", k)) for k in state)
    intermediate, hidden = state[first].shape
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": "gelu",
        "projection_dim": state["text_projection"].shape[1],
    }


def _renamed(key: str, value: Tensor) -> list[tuple[str, Tensor]]:
    if key in WHOLE:
        return [(WHOLE[key], value)]
    if key in TRANSPOSED:  # OpenCLIP multiplies from the left
        return [(TRANSPOSED[key], value.T.contiguous())]
    module, _, leaf = key.rpartition(".")
    if module in NORMS:
        return [(f"{NORMS[module]}.{leaf}", value)]
    found = LAYER.fullmatch(key)
    if not found:
        raise UserError(f"{key} is not a weight of an OpenCLIP ViT; give HPS_v2.1_compressed.pt or its like")
    side, number, part, leaf = found.groups(default="")
    layer = f"{TOWERS[side]}.encoder.layers.{number}"
    if part == "attn.in_proj":
        names = (f"{layer}.self_attn.{letter}_proj.{leaf}" for letter in "qkv")
        return list(zip(names, value.chunk(3), strict=True))
    return [(f"{layer}.{IN_LAYER[part]}.{leaf}", value)]
