"""Judges of the real kinds with random weights, in the place where World's trained ones live."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from safediffusion import world
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.evaluation.detectors.world import Harm
from safediffusion.world.networks.judges import HARM_LABELS, PART_LABELS, new_judge
from tests.pipelines import tiny_pipeline
from tests.tiny_text import tiny_tokenizer


def save_observer(path: Path) -> None:
    """A CLIP of a few thousand weights with World's image size."""
    tokenizer = tiny_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = size | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 12,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = size | {"image_size": 64, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessorPil(
        size={"shortest_edge": 64},
        crop_size={"height": 64, "width": 64},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    ).save_pretrained(path)


@pytest.fixture(scope="session")
def tiny_assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("assets")
    torch.manual_seed(0)
    new_judge(HARM_LABELS).save_pretrained(path / "harm-judge")
    new_judge(PART_LABELS).save_pretrained(path / "parts-judge")
    save_observer(path / "observer")
    return path


@pytest.fixture
def judges(tiny_assets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harm]:
    monkeypatch.setattr(world, "ASSETS", tiny_assets)
    yield Harm("cpu")


@pytest.fixture(scope="session")
def diffuser() -> StableDiffusion:
    return StableDiffusion(tiny_pipeline(), "cpu")
