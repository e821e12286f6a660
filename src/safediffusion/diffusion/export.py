"""Writes a trained pipeline: the trained network is new, every other part is a copy of the base's file.

What was not trained is copied and not saved again: a library writes its newest format, which older versions
do not read, and state that the part happens to have, such as a tokenizer's padding.
"""

import copy
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict

from safediffusion.diffusion.portable import INDEX, make_portable, parts
from safediffusion.files.links import inside
from safediffusion.files.modes import common_modes

log = logging.getLogger(__name__)

SETTINGS = (".json", ".txt", ".model", ".jinja")
# What the libraries read of a part. A link that leads out of the base is copied under these names alone: any
# other one may have been put there to carry a file of this machine into the export.
READ = {
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "config.json", "generation_config.json",
    "merges.txt", "preprocessor_config.json", "scheduler_config.json", "special_tokens_map.json",
    "spiece.model", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
}  # fmt: skip
WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|pytorch_model|model)[-.].*(safetensors|bin)(\.index\..*json)?"
)
PLAIN = ("safetensors", "bin", "index", "json")  # endings of a file's name, without its variant


def write_pipeline(pipeline: Any, name: str, folder: Path, lora: bool, dtype: torch.dtype) -> None:
    """Write a pipeline whose part `name` was trained.

    A pipeline that was read from a folder or the hub's cache gets the base's own files, byte for byte where
    they are in a form that all versions read (see `make_portable`). One that was built in memory, or whose
    base folder is gone, has no files to copy: all its parts are saved anew by `save_pretrained`.

    Args:
        pipeline: a diffusers pipeline.
        name: of the trained network.
        folder: where to; its lora/ holds the adapter on its own.
        lora: whether the network has an adapter, which is merged in float32 into the base file's weights.
        dtype: of the trained network's file.
    """
    trained = getattr(pipeline, name)
    base = base_folder(trained)
    network = merged(trained, base) if lora else trained
    if dtype != next(network.parameters()).dtype:
        network = (network if lora else copy.deepcopy(network.to("cpu"))).to(dtype)
    if base is None:
        save_parts(pipeline, name, network, folder)
    else:
        copy_parts(base, folder, name)
        network.save_pretrained(folder / name)
        shutil.copyfile(base / name / "config.json", folder / name / "config.json")
    make_portable(folder)
    if lora:
        layers = get_peft_model_state_dict(trained)
        pipeline.save_lora_weights(folder / "lora", **{f"{name}_lora_layers": layers})
    common_modes(folder)


def base_folder(network: Any) -> Path | None:
    """The pipeline folder that a network was read from, if it is still there."""
    named = network.config.get("_name_or_path")
    if not named:
        return None
    source = Path(named)
    # a network from a single file may name a folder of settings alone
    if (source.parent / INDEX).is_file() and source.is_dir() and weights_of(sorted(source.iterdir())):
        return source.parent
    log.warning("the base is not in %s; all parts of the model are written anew", source.parent)
    return None


@torch.no_grad()
def merged(trained: Any, base: Path | None) -> Any:
    """A float32 copy on the CPU, its weights those of the base plus the adapter's B A.

    Half precision would lose a part of the adapter: its values are smaller than the steps between the base's.
    So they are added to the weights of the base's file, read again in float32, even where training kept
    them in half precision: rounding is no part of what was learned.
    """
    if base is None:
        plain = copy.deepcopy(trained.to("cpu"))  # a second network may not fit on the device
        plain.unload_lora()
        plain.float()
    else:
        source = Path(trained.config["_name_or_path"])
        variant = next((variant_of(path.name) for path in weights_of(sorted(source.iterdir()))), "")
        plain = type(trained).from_pretrained(source, torch_dtype=torch.float32, variant=variant or None)
    weights = dict(plain.named_parameters())
    for name, layer in trained.named_modules():
        if isinstance(layer, BaseTunerLayer):
            tuned: Any = layer
            for adapter in tuned.active_adapters:
                weights[f"{name}.weight"] += tuned.get_delta_weight(adapter).float().cpu()
    return plain


def save_parts(pipeline: Any, name: str, network: Any, folder: Path) -> None:
    """Write all parts, with `network` as the part `name`."""
    trained = getattr(pipeline, name)
    pipeline.register_modules(**{name: network})
    try:
        pipeline.save_pretrained(folder)
    finally:
        pipeline.register_modules(**{name: trained})


def copy_parts(base: Path, folder: Path, trained: str) -> None:
    """Copy model_index.json and the files of all parts it names but the trained one."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(base / INDEX, folder / INDEX)
    for name in parts(json.loads((base / INDEX).read_text(encoding="utf-8"))):
        if name != trained and (base / name).is_dir():
            (folder / name).mkdir(exist_ok=True)
            for file in files_of(base / name):
                copy_file(file, folder / name / plain_name(file.name))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; an index of shards under another name has the shards' other names too."""
    shutil.copyfile(source, target)
    if source.name != target.name and source.suffix == ".json":
        index = json.loads(source.read_text(encoding="utf-8"))
        index["weight_map"] = {key: plain_name(file) for key, file in index["weight_map"].items()}
        target.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def files_of(part: Path) -> list[Path]:
    """The files of a part that `from_pretrained` needs: settings, vocabularies and one set of weights."""
    files = [path for path in sorted(part.iterdir()) if path.is_file()]
    settings = [
        path
        for path in files
        if path.suffix in SETTINGS
        and not WEIGHTS.fullmatch(path.name)
        and (path.name in READ or inside(path, part.parent))
    ]
    return settings + weights_of(files)


def weights_of(files: list[Path]) -> list[Path]:
    """The best set of weights: safetensors before .bin, no variant before fp16 before other variants."""
    sets: dict[tuple[bool, int, str], list[Path]] = {}
    for path in files:
        if WEIGHTS.fullmatch(path.name):
            variant = variant_of(path.name)
            rank = ("", "fp16").index(variant) if variant in ("", "fp16") else 2
            sets.setdefault((".bin" in path.name, rank, variant), []).append(path)
    return sets[min(sets)] if sets else []


def variant_of(name: str) -> str:
    """The variant in the name of a file of weights, such as fp16; empty where there is none."""
    words = [word.partition("-")[0] for word in name.split(".")[1:]]
    return next((word for word in words if word not in PLAIN), "")


def plain_name(name: str) -> str:
    """The name of a file of weights without its variant, as a plain `from_pretrained` looks for it."""
    variant = variant_of(name) if WEIGHTS.fullmatch(name) else ""
    return name.replace(f".{variant}", "", 1) if variant else name
