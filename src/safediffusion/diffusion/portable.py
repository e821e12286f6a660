"""Rewrites a pipeline folder into the form that old and new versions of diffusers and transformers read.

What is in that form already is left as it is, byte for byte. Newer libraries write three things that older
ones cannot read: class names, tokenizers without their vocabulary files, and text encoders under other names.
"""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from safediffusion.diffusion.weight_files import INDEX
from safediffusion.files.atomic import write_json, write_tensors, write_text

PATH_KEYS = ("_name_or_path", "name_or_path", "special_tokens_map_file")
DTYPE_KEYS = ("dtype", "torch_dtype")  # the older name second
LOCAL = re.compile(r"^(~|/|\\|[A-Za-z]:[\\/]|\.\.?[\\/])")  # a path of the machine that wrote the file
TEXT_MODEL = "text_model."  # prefix of a CLIPTextModel's tensors in all versions but the newest


def make_portable(folder: Path) -> None:
    """Put a pipeline folder into the common form, in place.

    - classes in model_index.json have the names that older versions know;
    - a part that model_index.json names and the folder lacks is left out there, so that the folder opens;
    - a byte-pair tokenizer has vocab.json and merges.txt, which transformers 4 reads, beside tokenizer.json;
    - a list of special tokens has the name that transformers 4 reads;
    - the tensors of a CLIPTextModel have the names of all versions, with the same values;
    - no encoder opens in half precision by itself: transformers 5 follows its settings, diffusers opens the
      other parts in float32, and the two do not compute together;
    - no settings file holds a path of the machine that wrote it.
    """
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    common = {name: _common(value, folder / name) for name, value in index.items()}
    if common.get("safety_checker") != index.get("safety_checker"):
        common["requires_safety_checker"] = False
    if common != index:
        write_json(folder / INDEX, common)
    for name, (_, kind) in parts(common).items():
        write_vocabulary(folder / name)
        list_special_tokens(folder / name / "tokenizer_config.json")
        if kind == "CLIPTextModel":
            name_as_before(folder / name / "model.safetensors")
        open_in_float32(folder / name / "config.json")
    for file in (folder / INDEX, *folder.glob("*/*config.json")):
        drop_paths(file)


def parts(index: dict[str, Any]) -> dict[str, list[str]]:
    """Library and class of each part that a model_index.json names."""
    return {
        name: value
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None
    }


def _common(value: Any, part: Path) -> Any:
    """An entry of model_index.json in names that older versions know; null where the part is missing."""
    if not parts({"": value}):
        return value
    if not part.is_dir():
        return [None, None]
    library, kind = value
    if kind == "T5Tokenizer" and not (part / "spiece.model").is_file():
        kind = "T5TokenizerFast"  # in transformers 4 the other class reads spiece.model only
    return [library, kind.removesuffix("Pil") if kind.endswith("ImageProcessorPil") else kind]


def write_vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt from a tokenizer.json of byte pairs, where they are missing."""
    file, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if not file.is_file() or vocabulary.is_file():
        return
    written = json.loads(file.read_text(encoding="utf-8"))
    model = written["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):  # the latter (Gemma) has tokenizer.model
        return
    added = {token["content"]: token["id"] for token in written["added_tokens"]}
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    write_text(merges, "\n".join(["#version: 0.2", *pairs]) + "\n")
    write_text(vocabulary, json.dumps(model["vocab"] | added, ensure_ascii=False) + "\n")


def list_special_tokens(file: Path) -> None:
    """A list of further special tokens under the name that transformers 4 reads; 5 reads both."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if isinstance(content.get("extra_special_tokens"), list):
        content["additional_special_tokens"] = content.pop("extra_special_tokens")
        write_json(file, content)


def name_as_before(file: Path) -> None:
    """Rename the tensors of a CLIPTextModel to names that all versions accept; values and types stay."""
    if not file.is_file():
        return
    with safe_open(file, "pt") as opened:
        metadata, names = opened.metadata(), list(opened.keys())
    if any(name.startswith(TEXT_MODEL) for name in names):
        return
    write_tensors(file, {TEXT_MODEL + name: t for name, t in load_file(file).items()}, metadata)


def open_in_float32(file: Path) -> None:
    """Settings that open a part in float32 unless another type is given; its weights keep theirs."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    half = {key: "float32" for key in DTYPE_KEYS if content.get(key) in ("float16", "bfloat16")}
    if half:
        write_json(file, content | half)


def drop_paths(file: Path) -> None:
    """Take local paths out of a settings file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    told = [key for key in PATH_KEYS if isinstance(content.get(key), str) and LOCAL.match(content[key])]
    if told:
        write_json(file, {key: value for key, value in content.items() if key not in told})
