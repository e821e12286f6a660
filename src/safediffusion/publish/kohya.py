"""An adapter as one file under the names of kohya's sd-scripts, which ComfyUI and A1111 read too.

sd-scripts works on the publishers' own networks. Those of SDXL, SD3 and FLUX name blocks differently from
diffusers, and SD3 and FLUX keep query, key and value in one matrix. There three adapters become one: the down
matrices are stacked, and the up matrices form a block diagonal, so that each keeps its own rows. Readers skip
unknown names without an error, so a wrong name would give an adapter without effect.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from safediffusion.errors import UserError
from safediffusion.publish.model_card import LICENCES, public_name

if TYPE_CHECKING:
    from torch import Tensor

    from safediffusion.config.schema import RunConfig

Place = tuple[str, int | None]  # a module's name there, and which third of its rows it is
DOWN, UP = "lora_A.weight", "lora_B.weight"
QKV = ("to_q", "to_k", "to_v")
ADDED_QKV = ("add_q_proj", "add_k_proj", "add_v_proj")


def fused(own: str, added: str) -> dict[str, Place]:
    """Map the projections of a joint attention: the image's are in `own`, the text's in `added`."""
    return {
        **{f"attn.{name}": (f"{own}.qkv", i) for i, name in enumerate(QKV)},
        **{f"attn.{name}": (f"{added}.qkv", i) for i, name in enumerate(ADDED_QKV)},
        "attn.to_out.0": (f"{own}.proj", None),
        "attn.to_add_out": (f"{added}.proj", None),
    }


SD3 = {
    "transformer_blocks": (
        "joint_blocks",
        fused("x_block.attn", "context_block.attn")
        | {f"attn2.{name}": ("x_block.attn2.qkv", i) for i, name in enumerate(QKV)}
        | {"attn2.to_out.0": ("x_block.attn2.proj", None)},
    )
}
FLUX = {
    "transformer_blocks": ("double_blocks", fused("img_attn", "txt_attn")),
    "single_transformer_blocks": (
        "single_blocks",
        {f"attn.{name}": ("linear1", i) for i, name in enumerate(QKV)},
    ),
}
FLUX_MLP = 4  # rows of a single block's linear1 below query, key and value, in widths of the network


def convert(tensors: Mapping[str, Tensor], model: Path) -> dict[str, Tensor]:
    """Convert a diffusers adapter to sd-scripts' names.

    Args:
        tensors: of pytorch_lora_weights.safetensors, PART.MODULE.lora_A.weight and .lora_B.weight; the
            adapter's scale is 1.
        model: the folder of the pipeline it belongs to.

    Returns:
        lora_unet_MODULE.lora_down.weight, .lora_up.weight and .alpha, where B A alpha / rank is the change.
    """
    modules: dict[str, dict[int | None, str]] = defaultdict(dict)
    for name in tensors:
        if name.endswith(DOWN):
            module = name.removesuffix(f".{DOWN}")
            there, third = place(module.partition(".")[2], model)
            modules[f"lora_unet_{there.replace('.', '_')}"][third] = module
    converted: dict[str, Tensor] = {}
    for name, by_third in sorted(modules.items()):
        parts = [
            (tensors[f"{by_third[i]}.{DOWN}"], tensors[f"{by_third[i]}.{UP}"])
            for i in sorted(by_third, key=str)
        ]
        down = torch.cat([down for down, _ in parts])
        up = torch.block_diag(*(up for _, up in parts))
        if name.endswith("_linear1"):
            up = torch.cat([up, up.new_zeros(FLUX_MLP * down.shape[1], up.shape[1])])
        converted |= {
            f"{name}.alpha": torch.tensor(float(len(down))),
            f"{name}.lora_down.weight": down.contiguous(),
            f"{name}.lora_up.weight": up.contiguous(),
        }
    return converted


def place(module: str, model: Path) -> Place:
    """Return the place of a module of diffusers' network in sd-scripts' network of the same model."""
    kind = pipeline_class(model)
    if kind == "StableDiffusionXLPipeline":
        return sgm_name(module, read(model, "unet/config.json")["layers_per_block"]), None
    table = {"StableDiffusion3Pipeline": SD3, "FluxPipeline": FLUX}.get(kind)
    if table is None:
        if not (model / "unet").is_dir():
            raise UserError(
                f"--to kohya is not written for a {kind}, whose blocks have other names in sd-scripts; use "
                "--to lora, which diffusers loads, or --to diffusers"
            )
        return module, None
    blocks, number, rest = module.split(".", 2)
    there, places = table[blocks]
    name, third = places[rest]
    return f"{there}.{number}.{name}", third


def sgm_name(module: str, layers: int) -> str:
    """Return the publisher's name of a module in an attention of SDXL's UNet.

    Args:
        module: for example down_blocks.1.attentions.0.proj_in.
        layers: of a down block; it has as many attentions, and an up block one more.
    """
    if found := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", module):
        return f"middle_block.1.{found[1]}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.(.+)", module)
    assert found, f"{module} is not part of an attention"
    number = (layers + 1) * int(found[2]) + int(found[3])
    if found[1] == "down":
        return f"input_blocks.{number + 1}.1.{found[4]}"  # 0 is the first convolution
    return f"output_blocks.{number}.1.{found[4]}"


def metadata(config: RunConfig, model: Path, title: str) -> dict[str, str]:
    """Return the metadata that sd-scripts, A1111 and others read before they use a file.

    Args:
        config: of the run.
        model: its model folder.
        title: what interfaces call it.
    """
    version, architecture = version_of(model)
    side = config.model.resolution or native_side(model)
    xl = architecture.startswith("stable-diffusion-xl")
    flux = architecture.startswith("flux")
    module = {"3": "networks.lora_sd3", "f": "networks.lora_flux"}.get(version[0], "networks.lora")
    told = {
        "ss_network_module": module,
        "ss_network_dim": str(config.train.lora_rank),
        "ss_network_alpha": str(config.train.lora_rank),
        "ss_base_model_version": version,
        "ss_v2": str(version.startswith("sd_v2")),
        "ss_sd_model_name": public_name(config.model.path),
        "ss_output_name": title,
        "ss_resolution": f"({side}, {side})",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": IMPLEMENTATIONS["xl" if xl else "flux" if flux else ""],
        "modelspec.title": title,
        "modelspec.resolution": f"{side}x{side}",
    }
    if version.startswith("sd"):  # modelspec has no word for the velocity that the others predict
        told["modelspec.prediction_type"] = "v" if predicts_v(model) else "epsilon"
    if config.model.path in LICENCES:
        told["modelspec.license"] = LICENCES[config.model.path]
    return told


IMPLEMENTATIONS = {
    "xl": "https://github.com/Stability-AI/generative-models",
    "flux": "https://github.com/black-forest-labs/flux",
    "": "diffusers",
}


def version_of(model: Path) -> tuple[str, str]:
    """Return a model's version as sd-scripts names it, and its architecture as modelspec names it."""
    kind = pipeline_class(model)
    if kind == "StableDiffusionXLPipeline":
        return "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"
    if kind == "StableDiffusion3Pipeline":
        network = read(model, "transformer/config.json")
        five = "5-medium" if network.get("dual_attention_layers") else "5-large"
        version = f"3-{five if network.get('qk_norm') else 'medium'}"
        return version, f"stable-diffusion-{version}"
    if kind == "FluxPipeline":
        guided = read(model, "transformer/config.json")["guidance_embeds"]
        return "flux1", "flux-1-dev" if guided else "flux-1-schnell"
    v = "_v" if predicts_v(model) else ""
    if read(model, "unet/config.json")["cross_attention_dim"] != 1024:  # the width of OpenCLIP's text encoder
        return f"sd_v1{v}", "stable-diffusion-v1"
    return f"sd_v2{v}", "stable-diffusion-v2-768-v" if v else "stable-diffusion-v2-512"


def predicts_v(model: Path) -> bool:
    """Whether a UNet predicts v instead of the noise."""
    return read(model, "scheduler/scheduler_config.json").get("prediction_type") == "v_prediction"


def native_side(model: Path) -> int:
    """Return the side, in pixels, of the images that a model was trained on."""
    network = "unet" if (model / "unet").is_dir() else "transformer"
    latents = read(model, f"{network}/config.json").get("sample_size") or 128  # missing in FLUX's settings
    return latents * 2 ** (len(read(model, "vae/config.json")["block_out_channels"]) - 1)


def pipeline_class(model: Path) -> str:
    """Return the pipeline class in model_index.json."""
    return read(model, "model_index.json")["_class_name"]


def read(model: Path, name: str) -> dict[str, Any]:
    """Read a settings file of a model folder."""
    return json.loads((model / name).read_text(encoding="utf-8"))
