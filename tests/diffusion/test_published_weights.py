"""Published weights: a pipeline in a subfolder of the hub, and a UNet or a text encoder on its own."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from safediffusion.diffusion import hub_folder
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.diffusion.replace_part import replace_part
from safediffusion.errors import UserError
from tests.cli.conftest import Command, command
from tests.evaluation.conftest import judges, tiny_assets
from tests.pipelines import tiny_pipeline, tiny_sd3

__all__ = ["command", "judges", "tiny_assets"]  # fixtures

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, one and two, of different weights."""
    root = tmp_path_factory.mktemp("published")
    for i, name in enumerate(("one", "two")):
        tiny_pipeline(seed=i).save_pretrained(root / name)
    return root


@pytest.fixture
def hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A hub that gives the two models as subfolders of any repository."""
    asked: list[Any] = []

    def snapshot_download(repo: str, allow_patterns: list[str]) -> str:
        asked.append((repo, allow_patterns))
        return str(saved)

    monkeypatch.setattr(hub_folder, "snapshot_download", snapshot_download)
    return asked


def test_a_subfolder_of_a_repository_is_loaded_and_nothing_else_of_it_is_fetched(
    saved: Path, hub: list[Any]
) -> None:
    assert model_hash(load_model("owner/name/two")) == model_hash(load_model(saved / "two"))
    ((repo, patterns),) = hub
    assert repo == "owner/name"
    assert patterns == [f"two/*.{ending}" for ending in ("json", "txt", "model", "safetensors")]


def test_a_local_subfolder_comes_first(saved: Path, hub: list[Any], tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(saved / "one", tmp_path / "a/b/two")
    monkeypatch.chdir(tmp_path)
    assert model_hash(load_model("a/b/two")) == model_hash(load_model(saved / "one"))
    assert hub == []


def test_a_subfolder_that_is_not_there_is_named(hub: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="owner/name on the hub has no folder three/four"):
        load_model("owner/name/three/four")

    def offline(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub_folder, "snapshot_download", offline)
    with pytest.raises(UserError, match=r"could not be had from the hub as two of owner/name.*hf download"):
        load_model("owner/name/two")


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_part_is_replaced_whole(saved: Path, part: str, as_file: bool) -> None:
    diffuser = load_model(saved / "one")
    before = {name: model.state_dict() for name, model in modules(diffuser).items()}
    before = {name: {k: t.clone() for k, t in state.items()} for name, state in before.items()}
    expected = modules(load_model(saved / "two"))[part].state_dict()
    file = {"unet": UNET, "text_encoder": TEXT}[part]
    replace_part(diffuser, part, saved / "two" / (file if as_file else part))
    for name, module in modules(diffuser).items():
        wanted = expected if name == part else before[name]
        assert all(torch.equal(t, wanted[k]) for k, t in module.state_dict().items())


def modules(diffuser: Any) -> dict[str, torch.nn.Module]:
    return {
        name: part for name, part in diffuser.pipeline.components.items() if isinstance(part, torch.nn.Module)
    }


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_encoder_comes_with_or_without_a_prefix_and_in_a_whole_clip(
    saved: Path, tmp_path: Path, prefix: str
) -> None:
    own = {prefix + k.removeprefix("text_model."): t for k, t in load_file(saved / "two" / TEXT).items()}
    beside = {
        "vision_model.x": torch.ones(2),
        "logit_scale": torch.ones(()),
        "text_projection.weight": torch.ones(2),
    }
    buffers = {f"{prefix}embeddings.position_ids": torch.arange(12)}
    save_file(own | beside | buffers, tmp_path / "clip.safetensors")
    diffuser = load_model(saved / "one")
    replace_part(diffuser, "text_encoder", tmp_path / "clip.safetensors")
    expected = load_model(saved / "two").encode(["a person"]).tokens
    assert torch.equal(diffuser.encode(["a person"]).tokens, expected)


def test_a_file_of_some_tensors_replaces_those_and_says_so(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {k: t.half() for k, t in load_file(saved / "two" / UNET).items() if ".attn2.to_k." in k}
    save_file(keys, tmp_path / "esd.safetensors")
    diffuser = load_model(saved / "one")
    before = {k: t.clone() for k, t in diffuser.network.state_dict().items()}
    with caplog.at_level(logging.WARNING, "safediffusion"):
        replace_part(diffuser, "unet", tmp_path / "esd.safetensors")
    for name, tensor in diffuser.network.state_dict().items():
        assert torch.equal(tensor, keys[name].float() if name in keys else before[name])
        assert tensor.dtype == torch.float32
    assert f"replaces {len(keys)} of the {len(before)} tensors of unet" in caplog.text


def bad_file(kind: str, saved: Path, folder: Path) -> Path:
    tensors = load_file(saved / "two" / UNET)
    name = min(tensors)
    if kind == "shape":
        tensors[name] = torch.zeros(3, 5)
    elif kind == "name":
        tensors = {"model.diffusion_model." + k: t for k, t in tensors.items()}
    elif kind == "none":
        tensors = {"logit_scale": torch.ones(())}
    path = folder / "unet.safetensors"
    save_file(tensors, path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"shape \(3, 5\), and this model of"),
        ("name", "this model's unet has not"),
        ("none", "holds no tensor of a unet"),
        ("cut", "the download did not finish"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_the_model_stays(
    saved: Path, tmp_path: Path, kind: str, message: str
) -> None:
    diffuser = load_model(saved / "one")
    with pytest.raises(UserError, match=message) as caught:
        replace_part(diffuser, "unet", bad_file(kind, saved, tmp_path))
    assert "\n" not in str(caught.value)
    assert model_hash(diffuser) == model_hash(load_model(saved / "one"))


def test_what_is_no_file_of_one_part_is_refused(saved: Path, tmp_path: Path) -> None:
    diffuser = load_model(saved / "one")
    (tmp_path / "unet.pt").write_bytes(b"pickle")
    for path, message in (
        (saved / "two", "is a whole pipeline; give the folder"),
        (tmp_path / "unet.pt", "may hold a pickle, which is never loaded"),
        (tmp_path / "none", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            replace_part(diffuser, "unet", path)


def test_a_model_without_the_part_is_refused(saved: Path, tmp_path: Path) -> None:
    tiny_sd3().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="--unet needs a model with a unet; a StableDiffusion3 has none"):
        replace_part(load_model(tmp_path), "unet", saved / "two/unet")


def test_evaluate_with_a_replaced_part_is_another_model_beside_its_base(
    command: Command, saved: Path, tmp_path: Path, judges: object
) -> None:
    done = command(
        "evaluate", saved / "one", "--unet", saved / "two/unet", "--baseline", saved / "one",
        "--tasks", "world-benign", "--limit", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [
        json.loads(f.read_text(encoding="utf-8"))
        for f in tmp_path.glob("results/*/world-benign/results.json")
    ]
    assert len(found) == 2
    assert found[0]["model_sha256"] != found[1]["model_sha256"]
    assert found[0]["fingerprint"] != found[1]["fingerprint"]
    assert {found[0]["model"], found[1]["model"]} == {
        str(saved / "one"),
        f"{saved / 'one'}+{saved / 'two/unet'}",
    }


def test_sample_with_a_replaced_part_shows_it_beside_the_base(
    command: Command, saved: Path, tmp_path: Path
) -> None:
    def sampled(*words: Any) -> bytes:
        done = command("sample", *words, "a red square")
        assert done.returncode == 0, done.stderr
        return (tmp_path / "sample.png").read_bytes()

    one, two = saved / "one", saved / "two"
    whole = sampled(one, "--unet", two / "unet", "--text-encoder", two / "text_encoder")
    assert sampled(one) != whole
    assert sampled(one, "--unet", two / "unet", "--compare", two) != whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "ONE", "--unet", "none"], "--unet none does not exist"),
        (["evaluate", "--images", "pictures", "--unet", "TWO"], "--unet and --text-encoder replace a part"),
        (["evaluate", "images:pictures", "--unet", "TWO"], "--unet and --text-encoder replace a part"),
        (["evaluate", "judged", "--text-encoder", "TWO"], "--unet and --text-encoder replace a part"),
        (["sample", "ONE", "a dog", "--text-encoder", "TWO"], "--text-encoder"),
    ],
)
def test_bad_usage(command: Command, saved: Path, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "judged/task").mkdir(parents=True)
    (tmp_path / "judged/task/results.json").write_text("{}", encoding="utf-8")
    real = {"ONE": saved / "one", "TWO": saved / "two/unet"}
    done = command(*(real.get(word, word) for word in words))
    told = done.stderr.strip().splitlines()[-1]  # the library's bars stand before it
    assert done.returncode == 2 and told.startswith("Error: ") and message in told, done.stderr
    assert not (tmp_path / "results").exists() and not (tmp_path / "sample.png").exists()
