"""Checkpoints in a single file, in the layout of the original repositories."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion import hub_folder
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.diffusion.checkpoint_file import SD1, SD2, SDXL, WIDE, inspect
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.diffusion.single_file import write_settings
from safediffusion.diffusion.tokenizer import clip_tokenizer
from safediffusion.errors import UserError
from tests.checkpoints import KINDS, write_checkpoint

TEXT = "cond_stage_model.transformer.text_model."
FIRST = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each kind, and its folder."""
    root = tmp_path_factory.mktemp("checkpoints")
    for kind in KINDS:
        write_checkpoint(kind, root)
    return root


def changed(source: Path, target: Path, add: dict[str, Any] | None = None, drop: str = "?") -> Path:
    """A copy with other tensors."""
    tensors = {name: t for name, t in load_file(source).items() if not name.startswith(drop)}
    save_file(tensors | (add or {}), target)
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_the_same_model_as_its_folder(kind: str, root: Path) -> None:
    file = load_model(root / f"{kind}.safetensors", config=str(root / kind))
    assert model_hash(file) == model_hash(load_model(root / kind))
    assert inspect(root / f"{kind}.safetensors").kind == {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}[kind]


def test_the_hash_is_that_of_the_content(root: Path, tmp_path: Path) -> None:
    source, config = root / "sd1.safetensors", str(root / "sd1")
    first = load_file(source)[FIRST]
    renamed = changed(source, tmp_path / "renamed.safetensors")
    other = changed(source, tmp_path / "other.safetensors", {FIRST: first + 1})
    known = model_hash(load_model(source, config=config))
    assert model_hash(load_model(renamed, config=config)) == known
    assert model_hash(load_model(other, config=config)) != known


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_exported_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    _, path = write_checkpoint("sd1", tmp_path, dtype)
    model = load_model(path, config=str(tmp_path / "sd1"), storage="bf16")
    model.make_trainable(2)
    for name, p in model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(p, 1e-4)
    model.export(tmp_path / "out")
    given = load_file(path)
    text = load_file(tmp_path / "out/text_encoder/model.safetensors")
    for name, tensor in text.items():  # as the file has them, though training kept them in bfloat16
        assert tensor.dtype == dtype
        assert torch.equal(tensor, given[f"cond_stage_model.transformer.{name}"])
    unet = load_file(tmp_path / "out/unet/diffusion_pytorch_model.safetensors")
    assert torch.equal(unet["conv_in.weight"], given[FIRST].float())
    ours = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    theirs = given[f"model.diffusion_model.input_blocks.1.1.{ours.partition('attentions.0.')[2]}"]
    adapter = model.network.get_submodule(ours.removesuffix(".weight"))
    delta: Any = adapter.get_delta_weight("default")  # type: ignore[operator]
    assert torch.equal(unet[ours], theirs.float() + delta)
    assert not list((tmp_path / "out").rglob("*tmp*"))
    for file in (tmp_path / "out").rglob("*.json"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8")


def test_a_part_that_the_file_lacks_comes_from_the_settings_folder(root: Path, tmp_path: Path) -> None:
    path = changed(root / "sd1.safetensors", tmp_path / "no_vae.safetensors", drop="first_stage_model.")
    with pytest.raises(UserError, match=r"has no vae; set model.config to the folder or hub id"):
        load_model(path)
    assert model_hash(load_model(path, config=str(root / "sd1"))) == model_hash(load_model(root / "sd1"))


def test_a_file_with_gaps_or_of_another_architecture_is_refused(root: Path, tmp_path: Path) -> None:
    source = root / "sd1.safetensors"
    gaps = changed(source, tmp_path / "gaps.safetensors", drop="model.diffusion_model.out.2")
    text = changed(source, tmp_path / "text.safetensors", drop=f"{TEXT}final_layer_norm")
    for path, message in (
        (gaps, "it lacks some of the tensors"),
        (text, r"it lacks 2 tensors, the first is text_encoder\..*final_layer_norm"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_model(path, config=str(root / "sd1"))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"expected shape.*If its architecture is another, set model.config"):
        load_model(source)


def test_a_settings_folder_without_tokenizer_is_refused(root: Path, tmp_path: Path) -> None:
    index = (root / "sd1/model_index.json").read_text(encoding="utf-8")
    (tmp_path / "model_index.json").write_text(index, encoding="utf-8")
    with pytest.raises(UserError, match=r"lacks .*tokenizer/"):
        load_model(root / "sd1.safetensors", config=str(tmp_path))


def test_a_file_that_ends_early_is_refused(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    path.write_bytes((root / "sd1.safetensors").read_bytes()[:-1000])
    with pytest.raises(UserError, match="the download did not finish"):
        load_model(path)


@pytest.mark.parametrize("kind", [SD1, SD2, SDXL])
def test_settings_of_known_kinds_need_no_network(kind: str, tmp_path: Path) -> None:
    """What is written gives back the architecture, its scheduler and CLIP's own tokens."""
    from diffusers import DiffusionPipeline
    from transformers import AutoConfig, AutoTokenizer

    write_settings(kind, tmp_path, None)
    index: Any = DiffusionPipeline.load_config(str(tmp_path))
    with torch.device("meta"):
        made = ARCHITECTURES[kind]()
    unet = json.loads((tmp_path / "unet/config.json").read_text(encoding="utf-8"))
    assert unet == json.loads(made.unet.to_json_string())
    for name in ("tokenizer", "tokenizer_2"):
        if name in index and index[name][0]:
            tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
            ids = tokenizer("a photo of a cat", padding="max_length", max_length=9).input_ids
            pad = 0 if kind == SD2 or name == "tokenizer_2" else 49407
            assert ids == [49406, 320, 1125, 539, 320, 2368, 49407, pad, pad]
            text = AutoConfig.from_pretrained(tmp_path / name.replace("tokenizer", "text_encoder"))
            assert text.eos_token_id == 49407 and text.vocab_size == len(tokenizer) == 49408


def test_sd2_that_predicts_noise_was_made_for_smaller_images(tmp_path: Path) -> None:
    for prediction, side in (("epsilon", 64), ("v_prediction", 96)):
        write_settings(SD2, tmp_path / prediction, prediction)
        unet = json.loads((tmp_path / prediction / "unet/config.json").read_text(encoding="utf-8"))
        assert unet["sample_size"] == side


def test_the_vocabulary_is_clips() -> None:
    """Token ids that CLIP's own README and published tokenizers give."""
    tokenizer = clip_tokenizer()
    assert tokenizer("a diagram").input_ids[1:-1] == [320, 22697]
    assert tokenizer("a dog").input_ids[1:-1] == [320, 1929]
    assert tokenizer("A  DOG").input_ids == tokenizer("a dog").input_ids


def noise_of(path: Path) -> tuple[str, bool]:
    """What a file is taken for, from its header; its settings need the true architecture."""
    found = inspect(path)
    return found.prediction or "", found.zero_snr


def test_a_file_says_what_it_predicts(root: Path, tmp_path: Path) -> None:
    source, tensors = root / "sdxl.safetensors", load_file(root / "sdxl.safetensors")
    assert noise_of(source) == ("", False)
    marked = changed(
        source, tmp_path / "v.safetensors", {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    )
    assert noise_of(marked) == ("v_prediction", True)
    for word, prediction in (("v", "v_prediction"), ("epsilon", "epsilon")):
        save_file(tensors, tmp_path / f"{word}.safetensors", {"modelspec.prediction_type": word})
        assert noise_of(tmp_path / f"{word}.safetensors") == (prediction, False)


@pytest.mark.parametrize(("spread", "prediction"), [(0.2, "v_prediction"), (0.01, "epsilon")])
def test_sd2_shows_what_it_predicts(spread: float, prediction: str, root: Path, tmp_path: Path) -> None:
    bias = torch.linspace(-1, 1, 16) * spread
    path = changed(root / "sd2.safetensors", tmp_path / "sd2.safetensors", {WIDE: bias})
    assert noise_of(path) == (prediction, False)


def test_marks_and_settings_decide_the_scheduler(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Marks of the file count where no folder gives the settings; `model.prediction` counts always."""
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    path = changed(root / "sd1.safetensors", tmp_path / "v.safetensors", marks)
    monkeypatch.setitem(ARCHITECTURES, SD1, KINDS["sd1"][0])
    with caplog.at_level(logging.WARNING, "safediffusion"):
        marked: Any = load_model(path).pipeline.scheduler
    assert marked.config.prediction_type == "v_prediction"
    assert marked.config.rescale_betas_zero_snr and marked.config.timestep_spacing == "trailing"
    assert "predicts v and starts from pure noise" in caplog.text
    by_folder: Any = load_model(path, config=str(root / "sd1")).pipeline.scheduler
    assert by_folder.config.prediction_type == "epsilon"
    told: Any = load_model(root / "sd1.safetensors", prediction="v_prediction").pipeline.scheduler
    assert told.config.prediction_type == "v_prediction"


def test_another_model_is_loaded_without_what_belongs_to_the_first_ones_place() -> None:
    one = ModelConfig(path="a/b/c.safetensors", revision="x", config="d", prediction="epsilon", dtype="fp32")
    assert one.at("a/b/c.safetensors") is one
    assert one.at("e.safetensors") == ModelConfig(
        path="e.safetensors", config="d", prediction="epsilon", dtype="fp32"
    )
    assert one.at("runs/mine/model") == ModelConfig(path="runs/mine/model", dtype="fp32")


def test_a_file_of_the_hub_is_downloaded_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Api:
        def model_info(self, repo: str, revision: str | None) -> Any:
            asked.append((repo, revision))
            names = ("sd1.safetensors", "README.md", "sd1.ckpt")
            files = [type("File", (), {"rfilename": name}) for name in names]
            return type("Info", (), {"siblings": files})

    def download(repo: str, name: str, revision: str | None) -> str:
        asked.append((repo, name, revision))
        return str(root / name)

    monkeypatch.setattr(hub_folder, "HfApi", Api)
    monkeypatch.setattr(hub_folder, "hf_hub_download", download)
    model = load_model("owner/name/sd1.safetensors", config=str(root / "sd1"), revision="v1")
    assert asked == [("owner/name", "v1"), ("owner/name", "sd1.safetensors", "v1")]
    assert model.pipeline.name_or_path == "owner/name/sd1.safetensors"
    with pytest.raises(UserError, match=r"has no file no.safetensors; it has the file sd1.safetensors"):
        load_model("owner/name/no.safetensors")
