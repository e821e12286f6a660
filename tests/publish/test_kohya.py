"""Adapters in sd-scripts' names, held against the rules that its readers apply: names, values, metadata."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from torch import Tensor, nn

from safediffusion.config.schema import RunConfig
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.diffusion.load import as_diffuser
from safediffusion.publish.kohya import convert, metadata, sgm_name, version_of

RANK = 2
FIRST = list(ARCHITECTURES)[:5]  # others have the layers of one of these
SD14, SD21, SDXL, SD35, FLUX = FIRST


@pytest.fixture(scope="module", params=FIRST, ids=lambda name: name.split("/")[1])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A true architecture without weights: its id, its folder of settings and its adapter's modules."""
    with torch.device("meta"):
        pipeline = ARCHITECTURES[request.param]()
    folder = tmp_path_factory.mktemp("known")
    pipeline.save_config(folder)
    for name in ("unet", "transformer", "vae", "scheduler"):
        if part := pipeline.components.get(name):
            part.save_config(folder / name)
    network: Any = as_diffuser(pipeline, "meta")
    targets = tuple(network.lora_targets)
    modules = {
        name: layer
        for name, layer in network.network.named_modules()
        if isinstance(layer, nn.Linear) and any(name == t or name.endswith(f".{t}") for t in targets)
    }
    return request.param, folder, network.network_name, modules


def adapter(prefix: str, modules: dict[str, nn.Linear], width: int | None = None) -> dict[str, Tensor]:
    """Random matrices for each module, as narrow as `width` where that is given: names matter, not sizes."""
    torch.manual_seed(0)
    tensors = {}
    for name, layer in modules.items():
        into, out = (width or n for n in (layer.in_features, layer.out_features))
        tensors[f"{prefix}.{name}.lora_A.weight"] = torch.randn(RANK, into)
        tensors[f"{prefix}.{name}.lora_B.weight"] = torch.randn(out, RANK)
    return tensors


# Modules of the networks that sd-scripts and ComfyUI build, as far as an adapter sits on them, from their
# sources: a file's names are these with _ for dots, behind lora_unet_.
ATTENTION = r"attentions_\d_transformer_blocks_\d_attn[12]_to_(q|k|v|out_0)"
SGM = r"1_transformer_blocks_\d_attn[12]_to_(q|k|v|out_0)"
NAMES = {
    SD14: rf"((down|up)_blocks_\d|mid_block)_{ATTENTION}",
    SD21: rf"((down|up)_blocks_\d|mid_block)_{ATTENTION}",
    SDXL: rf"(input_blocks_[4578]|middle_block|output_blocks_[0-5])_{SGM}",
    SD35: r"joint_blocks_\d+_((x_block|context_block)_attn|x_block_attn2)_(qkv|proj)",
    FLUX: r"(double_blocks_\d+_(img|txt)_attn_(qkv|proj)|single_blocks_\d+_linear1)",
}
# patches that ComfyUI made of such files: modules, three for a fused one in diffusers' names
COUNTS = {SD14: 128, SD21: 128, SDXL: 560, SD35: 24 * 4 - 1 + 13 * 2, FLUX: 19 * 4 + 38}


def test_every_name_is_a_module_of_the_readers_network(known: Any) -> None:
    name, folder, prefix, modules = known
    converted = convert(adapter(prefix, modules, 4), folder)
    names = {key.partition(".")[0] for key in converted}
    assert len(names) == COUNTS[name]
    assert all(re.fullmatch(f"lora_unet_{NAMES[name]}", key) for key in names)
    assert {key.partition(".")[2] for key in converted} == {"lora_down.weight", "lora_up.weight", "alpha"}


def test_every_module_has_its_alpha_and_its_change_whole(known: Any) -> None:
    _, folder, prefix, modules = known
    tensors = adapter(prefix, modules, 4)
    converted = convert(tensors, folder)
    total = sum(
        tensors[f"{prefix}.{n}.lora_B.weight"].sum(0) @ tensors[f"{prefix}.{n}.lora_A.weight"].sum(1)
        for n in modules
    )
    there = torch.tensor(0.0)
    for key in converted:
        if key.endswith("lora_down.weight"):
            down, up = converted[key], converted[key.replace("lora_down", "lora_up")]
            alpha = converted[key.replace("lora_down.weight", "alpha")]
            assert alpha.ndim == 0 and alpha.dtype == torch.float32 and alpha == len(down) == up.shape[1]
            there += up.sum(0) @ down.sum(1) * alpha / len(down)
    torch.testing.assert_close(there, total, rtol=1e-4, atol=1e-3)


def test_fused_projections_are_query_key_value_below_each_other() -> None:
    folder = Path(__file__)  # place() asks for the class only
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safediffusion.publish.kohya.pipeline_class", lambda model: "StableDiffusion3Pipeline")
        layer = nn.Linear(3, 3)
        modules = {f"transformer_blocks.0.attn.{name}": layer for name in ("to_q", "to_k", "to_v")}
        tensors = adapter("transformer", modules)
        converted = convert(tensors, folder)
    change = converted["lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight"]
    change = change @ converted["lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight"]
    wanted = [
        tensors[f"transformer.{n}.lora_B.weight"] @ tensors[f"transformer.{n}.lora_A.weight"] for n in modules
    ]
    torch.testing.assert_close(change, torch.cat(wanted))


def test_flux_is_read_back_by_diffusers_own_reader() -> None:
    """Its reader knows FLUX's width alone, so one block of each kind stands for all."""
    linear = nn.Linear(3072, 3072, device="meta")
    ends = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    modules = {f"transformer_blocks.0.attn.{end}": linear for end in ends}
    modules |= {f"single_transformer_blocks.0.attn.{end}": linear for end in ends[:3]}
    tensors = adapter("transformer", modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safediffusion.publish.kohya.pipeline_class", lambda model: "FluxPipeline")
        converted = convert(tensors, Path())
    assert converted["lora_unet_single_blocks_0_linear1.lora_up.weight"].shape[0] == 7 * 3072
    back = _convert_kohya_flux_lora_to_diffusers(dict(converted))
    for name in modules:
        own = tensors[f"transformer.{name}.lora_B.weight"] @ tensors[f"transformer.{name}.lora_A.weight"]
        read = back[f"transformer.{name}.lora_B.weight"] @ back[f"transformer.{name}.lora_A.weight"]
        torch.testing.assert_close(read, own)
    mlp = "transformer.single_transformer_blocks.0.proj_mlp"
    assert not (back[f"{mlp}.lora_B.weight"] @ back[f"{mlp}.lora_A.weight"]).any()


@pytest.mark.parametrize(
    "ours, theirs",
    [  # pairs of the published conversion between the two ways to name SDXL's blocks
        ("down_blocks.1.attentions.0.proj_in", "input_blocks.4.1.proj_in"),
        ("down_blocks.1.attentions.1.proj_in", "input_blocks.5.1.proj_in"),
        ("down_blocks.2.attentions.1.a.b", "input_blocks.8.1.a.b"),
        ("mid_block.attentions.0.a", "middle_block.1.a"),
        ("up_blocks.0.attentions.0.a", "output_blocks.0.1.a"),
        ("up_blocks.1.attentions.2.a", "output_blocks.5.1.a"),
    ],
)
def test_sdxl_blocks_have_their_publishers_names(ours: str, theirs: str) -> None:
    assert sgm_name(ours, 2) == theirs


# What sd-scripts writes into files of these models itself.
METADATA = {
    SD14: ("sd_v1", "False", "stable-diffusion-v1/lora", "epsilon", "512x512", "networks.lora"),
    SD21: ("sd_v2_v", "True", "stable-diffusion-v2-768-v/lora", "v", "768x768", "networks.lora"),
    SDXL: (
        "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "epsilon", "1024x1024", "networks.lora"
    ),
    SD35: ("3-5-medium", "False", "stable-diffusion-3-5-medium/lora", None, "1024x1024", "networks.lora_sd3"),
    FLUX: ("flux1", "False", "flux-1-dev/lora", None, "1024x1024", "networks.lora_flux"),
}  # fmt: skip


def config(path: str, **model: Any) -> RunConfig:
    return RunConfig.model_validate({"model": {"path": path, **model}, "train": {"lora_rank": 16}})


def test_metadata_says_what_the_readers_ask_for(known: Any) -> None:
    name, folder, *_ = known
    told = metadata(config(name), folder, "safer")
    version, v2, architecture, prediction, size, module = METADATA[name]
    assert told["ss_base_model_version"] == version and told["ss_v2"] == v2
    assert told["modelspec.architecture"] == architecture and told["ss_network_module"] == module
    assert told.get("modelspec.prediction_type") == prediction and told["modelspec.resolution"] == size
    assert told["ss_network_dim"] == told["ss_network_alpha"] == "16"
    assert told["modelspec.title"] == told["ss_output_name"] == "safer"
    assert told["modelspec.sai_model_spec"] == "1.0.0" and told["modelspec.implementation"]
    assert told["ss_sd_model_name"] == name and told["modelspec.license"]
    assert all(isinstance(value, str) for value in told.values())


def a1111_version(told: dict[str, str]) -> str:
    """How A1111 decides which models a file is shown for (extensions-builtin/Lora/network.py)."""
    if told.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    return "SD2" if told.get("ss_v2") == "True" else "SD1" if told else "Unknown"


def test_a1111_shows_a_file_for_its_own_models(known: Any) -> None:
    name, folder, *_ = known
    shown = {SD14: "SD1", SD21: "SD2", SDXL: "SDXL"}
    if name in shown:
        assert a1111_version(metadata(config(name), folder, "x")) == shown[name]


def test_the_size_trained_at_and_no_path_are_told(known: Any) -> None:
    _, folder, *_ = known
    told = metadata(config(f"{folder}/my-base", resolution=256), folder, "x")
    assert told["modelspec.resolution"] == "256x256" and told["ss_resolution"] == "(256, 256)"
    assert told["ss_sd_model_name"] == "my-base" and str(folder.parent) not in " ".join(told.values())
    assert "modelspec.license" not in told


@pytest.mark.parametrize(
    "width, prediction, version",
    [
        (768, "epsilon", ("sd_v1", "stable-diffusion-v1")),
        (768, "v_prediction", ("sd_v1_v", "stable-diffusion-v1")),
        (1024, "epsilon", ("sd_v2", "stable-diffusion-v2-512")),
        (1024, "v_prediction", ("sd_v2_v", "stable-diffusion-v2-768-v")),
    ],
)
def test_sd_versions_are_told_by_text_width_and_prediction(
    width: int, prediction: str, version: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "model_index.json": {"_class_name": "StableDiffusionPipeline"},
        "unet/config.json": {"cross_attention_dim": width},
        "scheduler/scheduler_config.json": {"prediction_type": prediction},
    }
    monkeypatch.setattr("safediffusion.publish.kohya.read", lambda model, name: settings[name])
    assert version_of(Path()) == version
