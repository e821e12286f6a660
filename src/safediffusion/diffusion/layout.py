"""Examines a model's path before anything is loaded: is it a pipeline, and what is missing?

Nothing here reads weights; of a safetensors file only the header is read, which holds its size and names.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safediffusion.diffusion.adapters import refuse_adapter
from safediffusion.diffusion.tensor_files import check_file, tensor_names
from safediffusion.errors import UserError

log = logging.getLogger(__name__)

INDEX = "model_index.json"
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # parts that training and evaluation skip
NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>(?!safetensors|bin|index)[\w-]+?))?"
    r"(-\d+-of-\d+)?\.(?P<ending>safetensors|bin)(\.index(\.(?P<sharded>[\w-]+))?\.json)?"
)
OTHERS = {".msgpack": "Flax", ".onnx": "ONNX", ".xml": "OpenVINO", ".gguf": "GGUF", ".h5": "TensorFlow"}
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
# Names in a single-file checkpoint, with the pipeline that reads it.
CHECKPOINTS = {
    "joint_blocks": "StableDiffusion3Pipeline",
    "double_stream_modulation_img": "Flux2KleinPipeline",
    "distilled_guidance_layer": "ChromaPipeline",
    "double_blocks": "FluxPipeline",
    "cap_embedder": "ZImagePipeline",
    "attention_y_norm": "SanaPipeline",
    "conditioner.embedders.1": "StableDiffusionXLPipeline",
    "model.diffusion_model.": "StableDiffusionPipeline",
}


ONLY_FOLDERS = ("Flux2KleinPipeline", "SanaPipeline")  # diffusers makes none of these from a single file


def check_place(source: str | Path) -> None:
    """Refuse a path that is neither a pipeline folder nor possibly an id of the hub.

    Raises:
        UserError: what lies there is not a pipeline; it says what it is and what to do.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / INDEX).is_file():
            raise UserError(f"model.path={source} is not a pipeline folder: {_what_else(path)}")
        return
    if path.exists():
        raise UserError(f"model.path={source} is a file, not a pipeline folder: {_single_file(path)}")
    if not HUB_ID.fullmatch(str(source)):
        raise UserError(f"model.path={source} does not exist; check the path, or set a hub id or world")


def absent_parts(folder: Path, index: dict[str, Any]) -> list[str]:
    """Parts that the index names and the folder lacks, but that are not used here; they are loaded as None.

    Raises:
        UserError: a part that is used is missing.
    """
    named = {name for name, part in index.items() if isinstance(part, list) and part[0] is not None}
    absent = sorted(
        name for name in named if not (folder / name).is_dir() or not any((folder / name).iterdir())
    )
    if needed := [name for name in absent if name not in UNUSED]:
        raise UserError(
            f"{folder} lacks {', '.join(f'{name}/' for name in needed)}, which its {INDEX} names; copy "
            f"{'it' if len(needed) == 1 else 'them'} from where the model came from, as in: "
            f"hf download OWNER/NAME --include '{needed[0]}/*' --local-dir {folder}"
        )
    return absent


def choose_variant(folder: Path, index: dict[str, Any]) -> str | None:
    """The variant of the weights to load, such as fp16; None is the plain one, used where every part has it.

    Raises:
        UserError: a network has no weights that are read here, or they are incomplete.
    """
    found = {
        name: weights_of(folder / name)
        for name in NETWORKS
        if isinstance(index.get(name), list) and index[name][0] is not None
    }
    lacking = [set(sets) for sets in found.values() if None not in sets]
    variant = None
    if lacking:
        common = set.intersection(*lacking)
        if not common:
            about = "; ".join(f"{name}/ has {_list(sets)}" for name, sets in found.items())
            raise UserError(
                f"the parts of {folder} have no variant in common: {about}; get one for all of them"
            )
        variant = min(common, key=lambda name: (name != "fp16", name))
        log.warning("%s holds the variant %s only, which is loaded", folder, variant)
    for sets in found.values():
        for file in sets.get(variant, sets.get(None, [])):
            check_file(file)
    return variant


def weights_of(part: Path) -> dict[str | None, list[Path]]:
    """The files of weights in a part's folder, by variant; safetensors where there are any.

    Raises:
        UserError: there are none, or a shard is missing.
    """
    sets: dict[tuple[str, str | None], list[Path]] = {}
    for file in sorted(part.iterdir()):
        if match := WEIGHTS.fullmatch(file.name):
            key = match["ending"], match["variant"] or match["sharded"]
            sets.setdefault(key, []).append(file)
    ending = "safetensors" if any(kind == "safetensors" for kind, _ in sets) else "bin"
    found = {variant: list(_whole(files)) for (kind, variant), files in sets.items() if kind == ending}
    if not found:
        others = sorted({OTHERS[file.suffix] for file in part.iterdir() if file.suffix in OTHERS})
        holds = f"only weights for {', '.join(others)}, which are not read here" if others else "no weights"
        raise UserError(
            f"{part} holds {holds}; it needs a file such as diffusion_pytorch_model.safetensors or "
            "model.safetensors from where the model came from"
        )
    return found


def _whole(files: list[Path]) -> Iterator[Path]:
    """The files of a set, with all shards that its index names."""
    for file in files:
        if file.suffix != ".json":
            yield file
            continue
        try:
            shards = set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{file} is damaged: it names no shards; get this file again") from error
        if missing := sorted(shard for shard in shards if not (file.parent / str(shard)).is_file()):
            raise UserError(
                f"{file.parent} lacks {len(missing)} of {len(shards)} shards, the first is {missing[0]}; the "
                "download did not finish: run it again, it goes on where it stopped"
            )


def _what_else(folder: Path) -> str:
    """The message for a folder without an index: what it is, and what to do."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return f"it is empty; a pipeline folder has a {INDEX}"
    if inner := sorted(pipelines_below(folder)):
        places = ", ".join(map(str, inner[:5]))
        return f"it holds {'one' if len(inner) == 1 else 'several'}; set model.path={places}"
    if (folder.parent / INDEX).is_file():
        return f"it is one part of the pipeline in {folder.parent}; set model.path={folder.parent}"
    refuse_adapter(folder)
    config = _config(folder)
    if kind := config.get("_class_name"):
        return f"it is a single {kind}; set the folder of the whole pipeline, which has a {INDEX}"
    if kind := config.get("model_type"):
        return (
            f"it is a {kind} model of transformers, not a pipeline; an encoder of texts and images is "
            f"set as reward.encoder, and model.path as a folder with a {INDEX}"
        )
    if files := [name for name in names if Path(name).suffix in (".safetensors", ".ckpt")]:
        return _single_file(folder / files[0])
    return f"it has no {INDEX}; set a folder written by save_pretrained, a hub id or world"


def pipelines_below(folder: Path) -> Iterator[Path]:
    """Pipeline folders one level below, or in a cache of the hub, where they lie two levels deep."""
    for pattern in (f"*/{INDEX}", f"snapshots/*/{INDEX}"):
        yield from (path.parent for path in folder.glob(pattern) if path.is_file())


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _single_file(path: Path) -> str:
    """The message for a checkpoint in a single file: what to do with it."""
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        return f"{path.name} may be a pickle, which is never loaded; get the model as a folder of safetensors"
    if path.suffix != ".safetensors":
        return f"set a folder with a {INDEX}, a hub id or world"
    check_file(path)
    names = tensor_names(path)
    refuse_adapter(path)
    kind = next((kind for part, kind in CHECKPOINTS.items() if any(part in name for name in names)), None)
    if kind is None:
        return f"{path.name} holds the weights of no whole model; set a folder with a {INDEX}"
    if kind in ONLY_FOLDERS:
        return f"{path.name} is the network of a {kind} alone; set the folder or hub id of the whole pipeline"
    return (
        f"{path.name} is a checkpoint in one file; write it as a folder once, which needs the hub for its "
        f'settings: python -c "from diffusers import {kind} as P; '
        f"P.from_single_file({str(path)!r}).save_pretrained('FOLDER')\" and set model.path=FOLDER"
    )


def _list(variants: dict[str | None, Any]) -> str:
    return ", ".join(sorted(name or "plain weights" for name in variants))
