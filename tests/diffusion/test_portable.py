"""Folders that old versions of the libraries read as well."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from safediffusion.diffusion.portable import make_portable
from safediffusion.world import asset

TEXT = ["a red square", "a person at the beach"]


def test_a_part_that_the_base_lacks_is_left_out_of_the_index(base: Path, tmp_path: Path) -> None:
    DiffusionPipeline.from_pretrained(base).save_pretrained(tmp_path / "base")
    index = json.loads((tmp_path / "base/model_index.json").read_text(encoding="utf-8"))
    index |= {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessorPil"],
        "requires_safety_checker": True,
    }
    (tmp_path / "base/model_index.json").write_text(json.dumps(index), encoding="utf-8")
    make_portable(tmp_path / "base")
    index = json.loads((tmp_path / "base/model_index.json").read_text(encoding="utf-8"))
    assert index["safety_checker"] == index["feature_extractor"] == [None, None]
    assert index["requires_safety_checker"] is False
    DiffusionPipeline.from_pretrained(tmp_path / "base")


def test_classes_have_the_names_of_older_versions(tmp_path: Path) -> None:
    for name in ("feature_extractor", "tokenizer_2", "tokenizer_3"):
        (tmp_path / name).mkdir()
    (tmp_path / "tokenizer_3/spiece.model").touch()
    index = {
        "feature_extractor": ["transformers", "CLIPImageProcessorPil"],
        "tokenizer_2": ["transformers", "T5Tokenizer"],
        "tokenizer_3": ["transformers", "T5Tokenizer"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    make_portable(tmp_path)
    found = json.loads((tmp_path / "model_index.json").read_text(encoding="utf-8"))
    assert [kind for _, kind in found.values()] == ["CLIPImageProcessor", "T5TokenizerFast", "T5Tokenizer"]


def test_encoders_in_half_precision_open_in_float32_like_the_other_parts(base: Path, tmp_path: Path) -> None:
    DiffusionPipeline.from_pretrained(base).to(torch.float16).save_pretrained(tmp_path)
    make_portable(tmp_path)
    opened: Any = DiffusionPipeline.from_pretrained(tmp_path)
    assert opened.text_encoder.dtype == opened.unet.dtype == torch.float32
    names = load_file(tmp_path / "text_encoder/model.safetensors")
    assert {value.dtype for value in names.values()} == {torch.float16}


def test_lists_of_special_tokens_have_the_name_of_older_versions(saved: Path) -> None:
    files = [file for family in ("sd3", "flux") for file in (saved / family).glob("*/tokenizer_config.json")]
    settings = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert not any(isinstance(one.get("extra_special_tokens"), list) for one in settings)
    assert any("additional_special_tokens" in one for one in settings)


def test_vocabulary_files_give_the_tokens_of_tokenizer_json(base: Path, tmp_path: Path) -> None:
    new = CLIPTokenizer.from_pretrained(base / "tokenizer")
    vocabulary = json.loads((base / "tokenizer/vocab.json").read_text(encoding="utf-8"))
    merges = (base / "tokenizer/merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [tuple(line.split(" ")) for line in merges]
    old = CLIPTokenizer(vocab=vocabulary, merges=pairs)
    for text in [*TEXT, "sunbathing, at the beach!"]:
        assert old(text).input_ids == new(text).input_ids


def test_world_is_shipped_in_the_form_that_all_versions_read(tmp_path: Path) -> None:
    pipeline = asset("pipeline")
    assert {"vocab.json", "merges.txt"} <= {p.name for p in (pipeline / "tokenizer").iterdir()}
    names = load_file(pipeline / "text_encoder/model.safetensors")
    assert all(name.startswith("text_model.") for name in names)
    for file in pipeline.rglob("*.json"):
        assert not re.search(r'_or_path": "(/|~|\w:\\)', file.read_text(encoding="utf-8")), file
