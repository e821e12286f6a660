"""`safediffusion baseline`: the folder it writes, its card, and that nothing half-written stays."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from safediffusion.baselines import esd
from safediffusion.baselines.make import refuse_family
from safediffusion.baselines.registry import METHODS
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.errors import UserError
from safediffusion.files.hashes import check_sums
from tests.baselines.conftest import Fresh
from tests.cli.conftest import Command, command, tiny_model
from tests.pipelines import tiny_sd3

__all__ = ["command", "tiny_model"]  # fixtures

UNET = "unet/diffusion_pytorch_model.safetensors"
CONCEPTS = ("--concepts", "nudity")


def test_the_folder_is_an_ordinary_pipeline_with_a_card(
    command: Command, tiny_model: Path, tmp_path: Path
) -> None:
    done = command("baseline", "make", "uce-2023", tiny_model, "ridge=0.25", *CONCEPTS, "--out", "m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["m"]
    card = json.loads((tmp_path / "m/baseline.json").read_text(encoding="utf-8"))
    assert (
        card["method"] == "uce-2023" and card["options"]["ridge"] == 0.25 and card["options"]["guide"] == " "
    )
    assert card["concepts"] == {"list": "nudity", "phrases": ["nudity"], "twins": []}
    assert card["base"] == "tiny" and card["base_sha256"] == model_hash(load_model(tiny_model))
    assert card["seconds"] >= 0 and "2308.14761" in card["paper"]
    assert str(tmp_path) not in json.dumps(card) and str(tiny_model.parent) not in json.dumps(card)
    check_sums(tmp_path / "m")

    before, after = load_file(tiny_model / UNET), load_file(tmp_path / "m" / UNET)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight"))}
    for part in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert load_file(tiny_model / part).keys()
        assert model_part(tiny_model / part) == model_part(tmp_path / "m" / part)
    plain: Any = StableDiffusionPipeline.from_pretrained(tmp_path / "m")
    assert torch.equal(plain.unet.state_dict()[min(changed)], after[min(changed)])
    assert command("sample", "m", "a red square").returncode == 0


def model_part(path: Path) -> dict[str, bytes]:
    return {name.removeprefix("text_model."): t.numpy().tobytes() for name, t in load_file(path).items()}


@pytest.mark.parametrize("name", ["uce", "rece", "text-map", "esd-x", "esd-x-strict", "esd-u", "esd-u-2023"])
def test_every_method_is_made_and_its_own_name_is_the_folder_s(
    command: Command, tiny_model: Path, tmp_path: Path, name: str
) -> None:
    fast = ["iterations=2", "steps=2"] if name.startswith("esd") else []
    done = command("baseline", "make", name, tiny_model, *fast)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith(f"tiny-{name}") and (folder / UNET).is_file()
    assert model_hash(load_model(folder)) != model_hash(load_model(tiny_model))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ucee"], "did you mean uce?"),
        (["uce", "rigde=1"], "did you mean ridge?"),
        (["uce", "ridge=0"], "ridge=0 is not accepted"),
        (["uce", "ridge=.inf"], "ridge"),
        (["uce", "guide=1"], "guide=1 is not accepted"),
        (["uce", "preserve=none.csv"], "none.csv"),
        (["uce", "nudity"], "write it as key=value"),
        (["uce", "--concepts", "empty.txt"], "hold no phrase"),
        (["uce", "--concepts", "a person, a boy"], "mention minors"),
        (["uce", "--concepts", "nudty"], "did you mean nudity?"),
        (["uce", "--out", "taken"], "taken exists already"),
        (["uce", "guide=an undressed child"], "minors"),
        (["esd-x", "iterations=0"], "iterations=0"),
        (["esd-x", "lr=1000"], "lr=1000"),
        (["esd-x", "steps=2000"], "more than the 1000"),
        (["esd-x", "seed=-1"], "seed=-1"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(
    command: Command, tiny_model: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "taken").mkdir()
    name, *rest = words
    done = command("baseline", "make", name, tiny_model, *rest)
    told = done.stderr.strip().splitlines()[-1]  # the library's bars stand before it
    assert done.returncode == 2 and told.startswith("Error: ") and message in told, done.stderr
    assert "boy" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "taken"]


def test_a_family_that_the_method_is_not_for_is_refused(command: Command, tmp_path: Path) -> None:
    tiny_sd3().save_pretrained(tmp_path / "sd3")
    done = command("baseline", "make", "uce", "sd3", "--out", "m")
    assert done.returncode == 2 and "uce is not defined for StableDiffusion3" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sd3"]


def test_families_of_each_method(fresh: Fresh) -> None:
    models = {name: fresh(name) for name in ("sd", "sdxl", "sd3", "flux")}
    for method in METHODS.values():
        known = {name for name, model in models.items() if method.defined_for(model)}
        only_sd = method.name in ("rece", "safree", "surgery-text") or method.name.startswith("esd-u")
        assert known == ({"sd"} if only_sd else {"sd", "sdxl"})
    with pytest.raises(
        UserError, match="esd-u is not defined for StableDiffusionXL; it is for StableDiffusion"
    ):
        refuse_family(METHODS["esd-u"], models["sdxl"])


def test_a_training_that_fails_leaves_nothing(
    command: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esd.Training, "loss", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    done = command("baseline", "make", "esd-x", tiny_model, "--out", "m")
    assert done.returncode == 1 and "set lr lower" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_writing_that_fails_leaves_nothing(
    command: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safediffusion.baselines.make.write_sums", full)
    done = command("baseline", "make", "uce", tiny_model, "--out", "m")
    assert done.returncode == 1 and "no space left" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("context", "phrases"), [(20, 1), (12, 7)])
def test_a_model_that_reads_world_s_captions_gets_world_s_concepts(
    command: Command,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: int,
    phrases: int,
) -> None:
    monkeypatch.setattr("safediffusion.baselines.method.CONTEXT", context)  # the tiny model reads 12 tokens
    assert command("baseline", "make", "uce", tiny_model, "--out", "m").returncode == 0
    card = json.loads((tmp_path / "m/baseline.json").read_text(encoding="utf-8"))
    assert len(card["concepts"]["phrases"]) == phrases == len(card["made"]["last_words"])


def test_list_and_show(command: Command) -> None:
    listed = command("baseline", "list")
    assert listed.returncode == 0
    for name in METHODS:
        assert name in listed.stdout
        shown = command("baseline", "show", name)
        assert shown.returncode == 0 and METHODS[name].paper in shown.stdout
    assert "ridge" in command("baseline", "show", "text-map").stdout
    assert "1e-05" in command("baseline", "show", "esd-x-2023").stdout
    wrong = command("baseline", "show", "esdx")
    assert wrong.returncode == 2 and "did you mean esd-x?" in wrong.stderr
