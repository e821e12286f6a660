"""A family from outside the package: one file, named by `model.family`."""

import sys
from pathlib import Path

import pytest

from safediffusion.diffusion.load import load_model
from safediffusion.errors import UserError
from tests.pipelines import tiny_pipeline

FAMILY = """
from safediffusion.diffusion.families.sd import StableDiffusion


class Halved(StableDiffusion):
    \"\"\"Stable Diffusion whose adapter covers the keys alone.\"\"\"

    lora_targets = ("to_k",)


def plain(): ...
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_family", raising=False)
    Path("own_family.py").write_text(FAMILY, encoding="utf-8")
    tiny_pipeline().save_pretrained("model")
    return tmp_path / "model"


def test_a_family_of_the_working_folder_is_what_is_trained(model: Path) -> None:
    diffuser = load_model(model, family="own_family:Halved")
    assert type(diffuser).__name__ == "Halved"
    assert all(".to_k." in name for name in diffuser.make_trainable(lora_rank=2))


def test_a_pipeline_class_without_a_family_is_loaded_by_ones_own(model: Path) -> None:
    index = model / "model_index.json"
    text = index.read_text(encoding="utf-8")
    index.write_text(
        text.replace('"StableDiffusionPipeline"', '"StableDiffusionPAGPipeline"'), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"model\.family"):
        load_model(model)
    assert type(load_model(model, family="own_family:Halved")).__name__ == "Halved"


@pytest.mark.parametrize("family", ["own_family:plain", "own_family:Missing", "nowhere:Halved"])
def test_what_is_not_a_family_is_refused(model: Path, family: str) -> None:
    with pytest.raises(UserError, match=r"model\.family"):
        load_model(model, family=family)
