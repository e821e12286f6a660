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
from safediffusion.diffusion.checkpoint_file import PICKLES, inspect
from safediffusion.diffusion.tensor_files import check_file
from safediffusion.diffusion.weight_files import INDEX, UNUSED, pick_variant, weight_sets
from safediffusion.errors import UserError

log = logging.getLogger(__name__)

NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
OTHERS = {".msgpack": "Flax", ".onnx": "ONNX", ".xml": "OpenVINO", ".gguf": "GGUF", ".h5": "TensorFlow"}
SHARD = re.compile(r".*-\d+-of-(\d+)\..*")


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a pipeline.

    Raises:
        UserError: it says what lies there and what to do.
    """
    if not (folder / INDEX).is_file():
        raise UserError(f"model.path={folder} is not a pipeline folder: {_what_else(folder)}")


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


def choose_variant(folder: Path, index: dict[str, Any], wanted: str | None = None) -> str | None:
    """The variant of the weights to load, such as fp16; None is the plain one, used where every part has it.

    Args:
        folder: a pipeline.
        index: the content of its model_index.json.
        wanted: `model.variant`.

    Raises:
        UserError: a network has no weights that are read here, they are incomplete, or not of this variant.
    """
    found = {
        name: weights_of(folder / name)
        for name in NETWORKS
        if isinstance(index.get(name), list) and index[name][0] is not None
    }
    variant = pick_variant(found, wanted, folder)
    if variant and not wanted:
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
    sets = weight_sets(path.name for path in part.iterdir())
    if not sets:
        others = sorted({OTHERS[file.suffix] for file in part.iterdir() if file.suffix in OTHERS})
        holds = f"only weights for {', '.join(others)}, which are not read here" if others else "no weights"
        raise UserError(
            f"{part} holds {holds}; it needs a file such as diffusion_pytorch_model.safetensors or "
            "model.safetensors from where the model came from"
        )
    return {variant: _whole([part / name for name in names]) for variant, names in sets.items()}


def _whole(files: list[Path]) -> list[Path]:
    """The files of a set of weights but its index.

    Raises:
        UserError: a shard is missing, or the index that says which of them holds what.
    """
    weights = [file for file in files if file.suffix != ".json"]
    index = next((file for file in files if file.suffix == ".json"), None)
    part = files[0].parent
    if index:
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{index} is damaged: it names no shards; get this file again") from error
        if missing := sorted(shard for shard in shards if not (part / str(shard)).is_file()):
            raise UserError(
                f"{part} lacks {len(missing)} of {len(shards)} shards, the first is {missing[0]}; the "
                "download did not finish: run it again, it goes on where it stopped"
            )
    elif shard := next((file.name for file in weights if SHARD.fullmatch(file.name)), None):
        raise UserError(
            f"{part} holds the shard {shard} without the index that belongs to it; get the file whose name "
            "ends in .index.json from where the model came from"
        )
    return weights


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
    if files := [name for name in names if Path(name).suffix in (".safetensors", *PICKLES)]:
        inspect(folder / files[0])
        return f"it holds a checkpoint in one file; set model.path={folder / files[0]}"
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
