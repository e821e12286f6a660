"""Tiny pipelines as one file in the layout of the original repositories, which model sites publish."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tests.pipelines import UNET, tiny_pipeline, tiny_sdxl
from tests.tiny_text import clip_config

State = dict[str, Tensor]
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def unet_state(unet: Any) -> State:
    layers, attended = unet.config.layers_per_block, ["Cross" in kind for kind in unet.config.up_block_types]
    return {
        f"model.diffusion_model.{unet_name(k, layers, attended)}": t for k, t in unet.state_dict().items()
    }


def unet_name(key: str, layers: int, attended: list[bool]) -> str:
    for ours, theirs in ENDS.items():
        if key.startswith(f"{ours}."):
            return key.replace(ours, theirs, 1)
    found = re.fullmatch(r"(down_blocks|up_blocks|mid_block)\.(.*)", key)
    assert found, key
    place, rest = found[1], found[2]
    if place == "mid_block":
        kind, number, rest = rest.split(".", 2)
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}.{inner(kind, rest)}"
    block, kind, number, rest = rest.split(".", 3)
    first = (layers + 1) * int(block)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{2 if attended[int(block)] else 1}.{rest}"
    side, shift = ("input", 1) if place == "down_blocks" else ("output", 0)
    position = 1 if kind == "attentions" else 0
    return f"{side}_blocks.{first + int(number) + shift}.{position}.{inner(kind, rest)}"


def inner(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    name, _, end = rest.rpartition(".")
    return f"{RESNET[name]}.{end}"


def vae_state(vae: Any) -> State:
    blocks = len(vae.config.block_out_channels)
    state = {}
    for key, tensor in vae.state_dict().items():
        name = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(
            r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{blocks - 1 - int(m[1])}.block.{m[2]}", name
        )
        name = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        if found := re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.*)\.(\w+)", name):
            name = f"{found[1]}mid.attn_1.{ATTENTION[found[2]]}.{found[3]}"
            if tensor.dim() == 2:
                tensor = tensor[:, :, None, None]  # convolutions there
        state[f"first_stage_model.{name}"] = tensor
    return state


def clip_state(encoder: Any, prefix: str) -> State:
    return {
        f"{prefix}transformer.text_model.{k.removeprefix('text_model.')}": t
        for k, t in encoder.state_dict().items()
    }


def open_clip_state(encoder: Any, prefix: str) -> State:
    named = {k.removeprefix("text_model."): t for k, t in encoder.state_dict().items()}
    state = {
        "token_embedding.weight": named["embeddings.token_embedding.weight"],
        "positional_embedding": named["embeddings.position_embedding.weight"],
        "ln_final.weight": named["final_layer_norm.weight"],
        "ln_final.bias": named["final_layer_norm.bias"],
        "logit_scale": torch.tensor(1.0),
    }
    if "text_projection.weight" in named:
        state["text_projection"] = named["text_projection.weight"].T.contiguous()
    for key, tensor in named.items():
        if found := re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)\.(\w+)", key):
            layer, name, end = found.groups()
            if name in OPEN_CLIP:
                state[f"transformer.resblocks.{layer}.{OPEN_CLIP[name]}.{end}"] = tensor
            elif name == "self_attn.q_proj":
                parts = [named[key.replace("q_proj", f"{p}_proj")] for p in "qkv"]
                state[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(parts)
    return {prefix + name: tensor for name, tensor in state.items()}


def sd1_state(pipeline: Any) -> State:
    text = clip_state(pipeline.text_encoder, "cond_stage_model.")
    return unet_state(pipeline.unet) | vae_state(pipeline.vae) | text


def sd2_state(pipeline: Any) -> State:
    text = open_clip_state(pipeline.text_encoder, "cond_stage_model.model.")
    return unet_state(pipeline.unet) | vae_state(pipeline.vae) | text


def sdxl_state(pipeline: Any) -> State:
    texts = clip_state(pipeline.text_encoder, "conditioner.embedders.0.")
    texts |= open_clip_state(pipeline.text_encoder_2, "conditioner.embedders.1.model.")
    return unet_state(pipeline.unet) | vae_state(pipeline.vae) | texts


def xl_pipeline() -> StableDiffusionXLPipeline:
    """SDXL with text encoders of two widths, by which the loader tells them apart."""
    pipeline: Any = tiny_sdxl()
    config = clip_config(24).to_dict() | {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_attention_heads": 3,
    }
    pipeline.register_modules(
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**config)),
        unet=UNet2DConditionModel(
            **UNET | {"cross_attention_dim": 40},
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        ),
    )
    return pipeline


KINDS = {
    "sd1": (tiny_pipeline, sd1_state),
    "sd2": (tiny_pipeline, sd2_state),
    "sdxl": (xl_pipeline, sdxl_state),
}


def write_checkpoint(
    kind: str, folder: Path, dtype: torch.dtype = torch.float32, metadata: dict[str, str] | None = None
) -> tuple[Any, Path]:
    """A tiny pipeline, its folder FOLDER/KIND, and the same weights as FOLDER/KIND.safetensors."""
    make, state = KINDS[kind]
    pipeline: Any = make()
    pipeline.save_pretrained(folder / kind)
    path = folder / f"{kind}.safetensors"
    tensors = {name: tensor.to(dtype).contiguous().clone() for name, tensor in state(pipeline).items()}
    save_file(tensors, path, metadata)
    return pipeline, path
