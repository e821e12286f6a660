"""Published weights: a pipeline in a subfolder of the hub, and a UNet or a text encoder on its own."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion import hub_folder
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.diffusion.replace_part import replace_part
from safediffusion.diffusion.weight_files import needed, weight_sets
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


class Hub:
    """A hub whose every repository holds the two models as subfolders, and more that nobody asked for."""

    def __init__(self, root: Path) -> None:
        self.root, self.down, self.asked = root, False, []

    def model_info(self, repo: str, revision: str | None) -> Any:
        if self.down:
            raise hub_folder.HTTPError("no connection")
        self.asked.append((repo, revision))
        names = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()]
        names += ["model.ckpt", "README.md", "two/safety_checker/model.safetensors", "two/unet/model.onnx"]
        names += ["two/unet/diffusion_pytorch_model.fp16.safetensors", "two/unet/diffusion_pytorch_model.bin"]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    def hf_hub_download(self, repo: str, name: str, revision: str | None) -> str:
        return str(self.root / name)

    def snapshot_download(self, repo: str, revision: str | None, **options: Any) -> str:
        self.asked.append(options)
        if options.get("local_files_only") and self.root.name == "nothing":
            raise LocalEntryNotFoundError("not in the cache")
        return str(self.root)


@pytest.fixture
def hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(saved)
    monkeypatch.setattr(hub_folder, "HfApi", lambda: made)
    monkeypatch.setattr(hub_folder, "hf_hub_download", made.hf_hub_download)
    monkeypatch.setattr(hub_folder, "snapshot_download", made.snapshot_download)
    return made


def test_a_subfolder_of_a_repository_is_loaded_and_nothing_else_of_it_is_fetched(
    saved: Path, hub: Hub
) -> None:
    model = load_model("owner/name/two", revision="v1.0")
    assert model_hash(model) == model_hash(load_model(saved / "two"))
    assert model.pipeline.name_or_path == "owner/name/two"
    place, fetched = hub.asked
    assert place == ("owner/name", "v1.0")
    own = [path for path in (saved / "two").rglob("*") if path.is_file()]
    assert sorted(fetched["allow_patterns"]) == sorted(path.relative_to(saved).as_posix() for path in own)


def test_a_variant_is_fetched_instead_of_the_plain_weights(hub: Hub) -> None:
    names = [file.rfilename for file in hub.model_info("a/b", None).siblings]
    below = [name.removeprefix("two/") for name in names if name.startswith("two/")]
    index = json.loads((hub.root / "two/model_index.json").read_text(encoding="utf-8"))
    config = ModelConfig(path="a/b/two", variant="fp16")
    files = needed(below, index, config)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in files
    assert "unet/diffusion_pytorch_model.safetensors" not in files
    assert "vae/diffusion_pytorch_model.safetensors" in files  # it has no other
    assert not [name for name in files if name.endswith((".bin", ".onnx")) or "safety_checker" in name]
    settings = needed(below, index, ModelConfig(path="a/b/two"), weights=["vae"])
    assert [name for name in settings if name.endswith("safetensors")] == [
        "vae/diffusion_pytorch_model.safetensors"
    ]


def test_only_the_variant_that_a_repository_has_is_fetched() -> None:
    names = [
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/config.json",
        "scheduler/scheduler_config.json",
    ]
    index = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"]}
    assert set(needed(names, index, ModelConfig(path="a/b"))) == {"model_index.json", *names}


@pytest.mark.parametrize("place", ["shard-00001-of-00002", "behind"])
def test_shards_of_a_variant_are_known_in_both_ways_to_name_them(place: str) -> None:
    stem = "diffusion_pytorch_model"
    shards = [
        f"{stem}-0000{i}-of-00002.fp16.safetensors"
        if place == "behind"
        else f"{stem}.fp16-0000{i}-of-00002.safetensors"
        for i in (1, 2)
    ]
    found = weight_sets([*shards, f"{stem}.safetensors.index.fp16.json", f"{stem}.safetensors"])
    assert set(found) == {None, "fp16"} and set(shards) < set(found["fp16"])


def test_a_local_subfolder_comes_first(saved: Path, hub: Hub, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(saved / "one", tmp_path / "a/b/two")
    monkeypatch.chdir(tmp_path)
    assert model_hash(load_model("a/b/two")) == model_hash(load_model(saved / "one"))
    assert hub.asked == []


def test_what_is_not_there_is_named_with_what_is(hub: Hub) -> None:
    with pytest.raises(
        UserError, match=r"owner/name on the hub has no pipeline in three/four; it has a pipeline in"
    ):
        load_model("owner/name/three/four")
    with pytest.raises(UserError, match=r"has no variant fp8: .*unet/ has fp16, plain weights"):
        load_model("owner/name/two", variant="fp8")


def test_without_a_connection_the_cache_is_taken_or_it_is_said_how_to_fill_it(
    saved: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.down = True
    with caplog.at_level(logging.WARNING, "safediffusion"):
        assert model_hash(load_model("owner/name/two")) == model_hash(load_model(saved / "two"))
    assert "the hub did not answer" in caplog.text
    hub.root = saved / "nothing"
    for place, include in (("owner/name", ""), ("owner/name/two", r" --include 'two/\*'")):
        with pytest.raises(
            UserError, match=rf"could not be had from the hub.*hf download owner/name{include}"
        ):
            load_model(place)
    with pytest.raises(UserError, match=r"hf download owner/name --include 'a.safetensors'"):
        load_model("owner/name/a.safetensors")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError, "accept its terms on its page, and log in with: hf auth login"),
        (RepositoryNotFoundError, "no such repository, or it is private"),
        (RevisionNotFoundError, "no such revision; set model.revision"),
        (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, and it is not in the cache"),
    ],
)
def test_why_the_hub_refuses_is_told(
    error: Any, message: str, hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = error("x") if error is OfflineModeIsEnabled else error("x", response=Mock())
    hub.root = saved / "nothing"
    monkeypatch.setattr(hub, "model_info", lambda *_, **__: (_ for _ in ()).throw(made))
    with pytest.raises(UserError, match=message) as caught:
        load_model("owner/name")
    assert "\n" not in str(caught.value)


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
