"""GenEval's own detector weights, an mmdet 2.x checkpoint, as transformers' Mask2Former.

The networks are equal; the names of the tensors differ. Every size is read from the tensors. A layer that
is one tensor there and three here is split, and the rows of patch merging are reordered.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from safediffusion.errors import UserError
from safediffusion.steering.open_clip import read_state

State = dict[str, Tensor]

LEVELS, POINTS = 3, 4  # of deformable attention, in all published models
SWIN = "model.pixel_level_module.encoder.swin."
PIXELS = "model.pixel_level_module.decoder."
QUERIES = "model.transformer_module."
LAYER = QUERIES + r"decoder.layers.\1."

RENAMED = [
    (r"backbone\.patch_embed\.projection\.", SWIN + "embeddings.patch_embeddings.projection."),
    (r"backbone\.patch_embed\.norm\.", SWIN + "embeddings.norm."),
    (r"backbone\.norm0\.", "model.pixel_level_module.encoder.hidden_states_norms.stage1."),
    (r"backbone\.norm1\.", "model.pixel_level_module.encoder.hidden_states_norms.stage2."),
    (r"backbone\.norm2\.", "model.pixel_level_module.encoder.hidden_states_norms.stage3."),
    (r"backbone\.norm3\.", "model.pixel_level_module.encoder.hidden_states_norms.stage4."),
    (r"backbone\.stages\.", SWIN + "encoder.layers."),
    (r"\.attn\.w_msa\.relative", ".attention.relative_position_bias.relative"),
    (r"\.attn\.w_msa\.proj\.", ".attention.o_proj."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"(blocks\.\d+)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"(blocks\.\d+)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
    (r"panoptic_head\.pixel_decoder\.input_convs\.(\d)\.conv\.", PIXELS + r"input_projections.\1.0."),
    (r"panoptic_head\.pixel_decoder\.input_convs\.(\d)\.gn\.", PIXELS + r"input_projections.\1.1."),
    (r"panoptic_head\.pixel_decoder\.level_encoding\.weight", PIXELS + "level_embed"),
    (r"panoptic_head\.pixel_decoder\.lateral_convs\.0\.conv\.", PIXELS + "adapter_1.0."),
    (r"panoptic_head\.pixel_decoder\.lateral_convs\.0\.gn\.", PIXELS + "adapter_1.1."),
    (r"panoptic_head\.pixel_decoder\.output_convs\.0\.conv\.", PIXELS + "layer_1.0."),
    (r"panoptic_head\.pixel_decoder\.output_convs\.0\.gn\.", PIXELS + "layer_1.1."),
    (r"panoptic_head\.pixel_decoder\.mask_feature\.", PIXELS + "mask_projection."),
    (r"panoptic_head\.pixel_decoder\.encoder\.", PIXELS + "encoder."),
    (r"(decoder\.encoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(decoder\.encoder\.layers\.\d+)\.norms\.0\.", r"\1.self_attn_layer_norm."),
    (r"(decoder\.encoder\.layers\.\d+)\.norms\.1\.", r"\1.final_layer_norm."),
    (r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.attentions\.0\.attn\.", LAYER + "cross_attn."),
    (r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.attentions\.1\.attn\.", LAYER + "self_attn."),
    (r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.norms\.0\.", LAYER + "cross_attn_layer_norm."),
    (r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.norms\.1\.", LAYER + "self_attn_layer_norm."),
    (r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.norms\.2\.", LAYER + "final_layer_norm."),
    (r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.", LAYER),
    (r"\.ffns\.0\.layers\.0\.0\.", ".fc1."),
    (r"\.ffns\.0\.layers\.1\.", ".fc2."),
    (r"panoptic_head\.transformer_decoder\.post_norm\.", QUERIES + "decoder.layernorm."),
    (r"panoptic_head\.query_embed\.", QUERIES + "queries_embedder."),
    (r"panoptic_head\.query_feat\.", QUERIES + "queries_features."),
    (r"panoptic_head\.level_embed\.", QUERIES + "level_embed."),
    (r"panoptic_head\.cls_embed\.", "class_predictor."),
    (r"panoptic_head\.mask_embed\.0\.", QUERIES + "decoder.mask_predictor.mask_embedder.0.0."),
    (r"panoptic_head\.mask_embed\.2\.", QUERIES + "decoder.mask_predictor.mask_embedder.1.0."),
    (r"panoptic_head\.mask_embed\.4\.", QUERIES + "decoder.mask_predictor.mask_embedder.2.0."),
]  # fmt: skip
IGNORED = ("relative_position_index", "loss_cls.class_weight")  # computed; of training alone
UNUSED = ("swin.layernorm.", "criterion.")  # of transformers: never read when detecting


def load_mmdet(path: Path) -> Mask2FormerForUniversalSegmentation:
    """The network of an mmdet 2.x Mask2Former checkpoint with a Swin backbone, in float32.

    Raises:
        UserError: the file holds more than tensors and plain values, or another network.
    """
    return from_mmdet(read_state(path), str(path))


def from_mmdet(state: State, name: str) -> Mask2FormerForUniversalSegmentation:
    """The same from tensors by mmdet's names; `name` is what an error calls them."""
    try:
        network = Mask2FormerForUniversalSegmentation(config_of(state))
    except KeyError as error:
        raise UserError(
            f"{name} is not an mmdet 2.x Mask2Former with a Swin backbone: {error} is missing"
        ) from error
    found: Any = network.load_state_dict(renamed(state), strict=False)
    missing = [key for key in found.missing_keys if not any(part in key for part in UNUSED)]
    if wrong := sorted([*missing, *found.unexpected_keys]):
        raise UserError(f"{name} is not a complete mmdet 2.x Mask2Former, for example {wrong[0]}")
    return network


def config_of(state: State) -> Mask2FormerConfig:
    """The architecture that follows from the tensors' shapes."""
    blocks = [
        sum(f"backbone.stages.{s}.blocks.{b}.norm1.weight" in state for b in range(64)) for s in range(4)
    ]
    tables = [
        state[f"backbone.stages.{s}.blocks.0.attn.w_msa.relative_position_bias_table"] for s in range(4)
    ]
    width = len(state["panoptic_head.pixel_decoder.mask_feature.bias"])
    encoder, decoder = (
        "panoptic_head.pixel_decoder.encoder.layers",
        "panoptic_head.transformer_decoder.layers",
    )
    offsets = state[f"{encoder}.0.attentions.0.sampling_offsets.bias"]
    swin: dict[str, Any] = dict(
        embed_dim=len(state["backbone.patch_embed.norm.weight"]),
        depths=blocks,
        num_heads=[table.shape[1] for table in tables],
        window_size=(round(len(tables[0]) ** 0.5) + 1) // 2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    whole: dict[str, Any] = dict(
        backbone_config=SwinConfig(**swin),
        feature_size=width,
        mask_feature_size=width,
        hidden_dim=width,
        num_attention_heads=len(offsets) // (LEVELS * POINTS * 2),
        encoder_layers=layers(state, encoder),
        encoder_feedforward_dim=len(state[f"{encoder}.0.ffns.0.layers.0.0.bias"]),
        decoder_layers=layers(state, decoder) + 1,  # transformers counts the first prediction too
        dim_feedforward=len(state[f"{decoder}.0.ffns.0.layers.0.0.bias"]),
        num_queries=len(state["panoptic_head.query_feat.weight"]),
        num_labels=len(state["panoptic_head.cls_embed.bias"]) - 1,
    )
    return Mask2FormerConfig(**whole)


def layers(state: State, prefix: str) -> int:
    """The number of layers under a prefix."""
    return len({key.removeprefix(prefix).split(".")[1] for key in state if key.startswith(f"{prefix}.")})


def renamed(state: State) -> State:
    """transformers' tensors from mmdet's."""
    found: State = {}
    for key, value in state.items():
        if key.endswith(IGNORED):
            continue
        for pattern, replacement in RENAMED:
            key = re.sub(pattern, replacement, key)
        found |= split(key, value.float())
    return found


def split(key: str, value: Tensor) -> State:
    """A tensor under its new name, or the three that it is split into."""
    if ".attn.w_msa.qkv." in key:
        names = [key.replace(".attn.w_msa.qkv.", f".attention.{n}_proj.") for n in "qkv"]
    elif ".self_attn.in_proj_" in key:
        names = [key.replace(".self_attn.in_proj_", f".self_attn.{n}_proj.") for n in "qkv"]
    elif ".downsample." in key:
        return {key: merged(value)}
    else:
        return {key: value}
    return dict(zip(names, value.chunk(3), strict=True))


def merged(value: Tensor) -> Tensor:
    """Patch merging's last axis, from channel by channel with 2 x 2 pixels each to pixel by pixel."""
    pixels = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]  # transformers takes the lower left one second
    return pixels.transpose(-1, -2).flatten(-2)
