"""Writes a trained pipeline: the trained network is new, every other part is a copy of the base's file.

What was not trained is copied and not saved again: a library writes its newest format, which older versions
do not read, and state that the part happens to have, such as a tokenizer's padding.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils import get_peft_model_state_dict

from safediffusion.diffusion.network_file import Values, merged, plain_tensors, stored, write_network
from safediffusion.diffusion.portable import make_portable, parts
from safediffusion.diffusion.weight_files import INDEX, SETTINGS, WEIGHTS, weight_sets
from safediffusion.errors import UserError
from safediffusion.files.links import inside
from safediffusion.files.modes import common_modes

log = logging.getLogger(__name__)

# What the libraries read of a part. A link that leads out of the base is copied under these names alone: any
# other one may have been put there to carry a file of this machine into the export.
READ = {
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "config.json", "generation_config.json",
    "merges.txt", "preprocessor_config.json", "scheduler_config.json", "special_tokens_map.json",
    "spiece.model", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
}  # fmt: skip
PLAIN = ("safetensors", "bin", "index", "json")  # endings of a file's name, without its variant


@dataclass(frozen=True)
class Source:
    """What an export has to know of where a pipeline was read from.

    Attributes:
        variant: of the weights that were read from a folder; None is the plain one.
        again: reads the pipeline of a single file once more, in the file's own precision; None for a folder.
    """

    variant: str | None = None
    again: Callable[[], Any] | None = None


def write_pipeline(
    pipeline: Any, name: str, folder: Path, lora: bool, dtype: torch.dtype, source: Source
) -> None:
    """Write a pipeline whose part `name` was trained.

    A pipeline that was read from a folder or the hub's cache gets the base's own files, byte for byte where
    they are in a form that all versions read (see `make_portable`). One from a single file gets its other
    parts from that file, in its precision, as `save_pretrained` writes them. One that was built in memory, or
    whose base is gone, gets the parts that are in memory.

    Args:
        pipeline: a diffusers pipeline.
        name: of the trained network.
        folder: where to; its lora/ holds the adapter on its own.
        lora: whether the network has an adapter, which is merged into the base file's weights.
        dtype: of the trained network's file.
        source: of the pipeline.
    """
    trained = getattr(pipeline, name)
    own = plain_tensors(trained)
    again = read_again(source)
    base = None if again else base_folder(trained)
    if base is None:
        (again or pipeline).save_pretrained(folder)
        for file in weights_of(sorted((folder / name).iterdir())):
            file.unlink()
    else:
        copy_parts(base, folder, name, source.variant)
        (folder / name).mkdir()
        shutil.copyfile(base / name / "config.json", folder / name / "config.json")
    before = plain_tensors(getattr(again, name)) if again else own
    value = before.__getitem__ if base is None else base_values(trained, source, set(own))
    write_network(folder / name, own, merged(trained, value) if lora else own.__getitem__, dtype)
    make_portable(folder)
    if lora:
        layers = get_peft_model_state_dict(trained)
        pipeline.save_lora_weights(folder / "lora", **{f"{name}_lora_layers": layers})
    common_modes(folder)


def read_again(source: Source) -> Any | None:
    """The pipeline of a single file as the file has it; None if it is from elsewhere or the file is gone."""
    if source.again is None:
        return None
    try:
        return source.again()
    except UserError as error:
        log.warning(
            "the base could not be read again (%s); all parts are written as they are in memory", error
        )
        return None


def base_folder(network: Any) -> Path | None:
    """The pipeline folder that a network was read from, if it is still there."""
    named = network.config.get("_name_or_path")
    if not named:
        return None
    source = Path(named)
    if (source.parent / INDEX).is_file() and source.is_dir() and weights_of(sorted(source.iterdir())):
        return source.parent
    log.warning("the base is not in %s; all parts of the model are written anew", source.parent)
    return None


def base_values(trained: Any, source: Source, names: set[str]) -> Values:
    """The tensors of the network before training, from the base's files."""
    folder = Path(trained.config["_name_or_path"])
    files = weights_of(sorted(folder.iterdir()), source.variant)
    if read := stored(files, names):
        return read
    # files of an older diffusers have other names, which its loader knows
    variant = next((variant_of(path.name) for path in files), "")
    plain = type(trained).from_pretrained(folder, torch_dtype=torch.float32, variant=variant or None)
    return plain.state_dict().__getitem__


def copy_parts(base: Path, folder: Path, trained: str, variant: str | None) -> None:
    """Copy model_index.json and the files of all parts it names but the trained one."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(base / INDEX, folder / INDEX)
    for name in parts(json.loads((base / INDEX).read_text(encoding="utf-8"))):
        if name != trained and (base / name).is_dir():
            (folder / name).mkdir(exist_ok=True)
            for file in files_of(base / name, variant):
                copy_file(file, folder / name / plain_name(file.name))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; an index of shards under another name has the shards' other names too."""
    shutil.copyfile(source, target)
    if source.name != target.name and source.suffix == ".json":
        index = json.loads(source.read_text(encoding="utf-8"))
        index["weight_map"] = {key: plain_name(file) for key, file in index["weight_map"].items()}
        target.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def files_of(part: Path, variant: str | None = None) -> list[Path]:
    """The files of a part that `from_pretrained` needs: settings, vocabularies and one set of weights."""
    files = [path for path in sorted(part.iterdir()) if path.is_file()]
    settings = [
        path
        for path in files
        if path.suffix in SETTINGS
        and not WEIGHTS.fullmatch(path.name)
        and (path.name in READ or inside(path, part.parent))
    ]
    return settings + weights_of(files, variant)


def weights_of(files: list[Path], variant: str | None = None) -> list[Path]:
    """The best set of weights: the variant that is asked for, else the plain one, else fp16, else another."""
    sets = weight_sets(path.name for path in files)
    if not sets:
        return []
    best = min(sets, key=lambda name: (name != variant, name is not None, name != "fp16", name or ""))
    return [path for path in files if path.name in sets[best]]


def variant_of(name: str) -> str:
    """The variant in the name of a file of weights, such as fp16; empty where there is none."""
    words = [word.partition("-")[0] for word in name.split(".")[1:]]
    return next((word for word in words if word not in PLAIN), "")


def plain_name(name: str) -> str:
    """The name of a file of weights without its variant, as a plain `from_pretrained` looks for it."""
    variant = variant_of(name) if WEIGHTS.fullmatch(name) else ""
    return name.replace(f".{variant}", "", 1) if variant else name
