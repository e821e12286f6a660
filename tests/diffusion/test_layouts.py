"""Model folders as people have them: the common ones load, of the others it is said what they are."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safediffusion.diffusion.load import load_model
from safediffusion.errors import UserError
from tests.pipelines import tiny_pipeline, tiny_sd3, tiny_sdxl


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layouts") / "plain"
    tiny_pipeline().save_pretrained(path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "mine"))


def weights(path: Path | str) -> dict[str, torch.Tensor]:
    return load_model(path, dtype="fp32").pipeline.unet.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float = 0) -> bool:
    return all(torch.allclose(a[name], b[name], rtol=0, atol=atol) for name in a)


@pytest.mark.parametrize("variant", ["fp16", "bf16", "non_ema"])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_folder_that_holds_one_variant_loads_it_and_says_so(
    variant: str, ending: str, saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_pipeline().save_pretrained(tmp_path, variant=variant, safe_serialization=ending == "safetensors")
    with caplog.at_level(logging.WARNING, "safediffusion"):
        assert same(weights(tmp_path), weights(saved))
    assert f"variant {variant}" in caplog.text


def test_plain_weights_come_before_a_variant(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny_pipeline(seed=1).save_pretrained(folder, variant="fp16")
    assert same(weights(folder), tiny_pipeline().unet.state_dict())
    assert "variant" not in caplog.text


def test_a_variant_of_some_parts_is_loaded_beside_plain_weights_of_the_others(
    folder: Path, saved: Path
) -> None:
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert same(weights(folder), weights(saved))


def test_parts_without_a_common_variant_are_refused(folder: Path) -> None:
    for part, name, variant in (
        ("unet", "diffusion_pytorch_model", "fp16"),
        ("text_encoder", "model", "bf16"),
    ):
        file = folder / part / f"{name}.safetensors"
        file.rename(file.with_name(f"{name}.{variant}.safetensors"))
    with pytest.raises(UserError, match=r"no variant in common.*unet/ has fp16"):
        load_model(folder)


def test_shards_of_a_variant_load(saved: Path, tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path, variant="fp16", max_shard_size="20KB")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    assert same(weights(tmp_path), weights(saved))


def name_parts(folder: Path, **parts: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | parts), encoding="utf-8")


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(
    ("make", "unused"),
    [
        (
            tiny_pipeline,
            {
                "feature_extractor": ["transformers", "CLIPImageProcessor"],
                "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
                "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
            },
        ),
        (tiny_sdxl, {"feature_extractor": ["transformers", "CLIPImageProcessor"]}),
        (tiny_sd3, {"image_encoder": ["transformers", "SiglipVisionModel"]}),
    ],
    ids=["sd", "sdxl", "sd3"],
)
def test_parts_that_nobody_uses_may_be_missing(
    make: Callable[[], Any], unused: dict[str, Any], empty: bool, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    name_parts(tmp_path, **unused)
    if empty:
        for name in unused:
            (tmp_path / name).mkdir()
    assert load_model(tmp_path).latent_shape


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_part_that_is_needed_is_named_with_the_way_to_get_it(part: str, folder: Path) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=rf"lacks {part}/.*hf download OWNER/NAME --include '{part}/\*'"):
        load_model(folder)


@pytest.mark.parametrize("inner", ["sd15", "a b"])
def test_a_folder_one_level_too_high_names_the_pipeline_in_it(
    inner: str, saved: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path / inner)
    (tmp_path / "README.md").write_text("about", encoding="utf-8")
    with pytest.raises(UserError, match=f"holds one; set model.path={tmp_path / inner}"):
        load_model(tmp_path)


def test_a_cache_of_the_hub_names_its_snapshot(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "snapshots/0123abc")
    with pytest.raises(UserError, match="snapshots/0123abc"):
        load_model(tmp_path)


def test_a_part_of_a_pipeline_names_the_whole(saved: Path) -> None:
    with pytest.raises(UserError, match=f"one part of the pipeline in {saved}"):
        load_model(saved / "unet")


def lora(path: Path) -> None:
    tiny_pipeline()
    save_file({"unet.a.lora_A.weight": torch.ones(2, 2), "unet.a.lora_B.weight": torch.ones(2, 2)}, path)


def kohya(path: Path) -> None:
    names = ("lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight", "lora_unet_a.alpha")
    save_file({name: torch.ones(2) for name in names}, path)


def checkpoint(path: Path, *parts: str) -> None:
    names = parts or ("model.diffusion_model.input_blocks.0.0.weight",)
    save_file({name: torch.ones(2) for name in names}, path)


OTHERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: None, "it is empty"),
    "notes": (lambda path: (path / "a.txt").write_text("x", encoding="utf-8"), "it has no model_index.json"),
    "adapter of diffusers": (lambda path: lora(path / "pytorch_lora_weights.safetensors"), "LoRA adapter"),
    "adapter of peft": (lambda path: lora(path / "adapter_model.safetensors"), "LoRA adapter"),
    "adapter of kohya": (lambda path: kohya(path / "mine.safetensors"), "LoRA adapter"),
    "checkpoint": (lambda path: checkpoint(path / "mine.safetensors"), "from_single_file"),
    "clip": (
        lambda path: (path / "config.json").write_text('{"model_type": "clip"}', encoding="utf-8"),
        "reward.encoder",
    ),
    "llama": (
        lambda path: (path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8"),
        "not a pipeline",
    ),
    "network": (
        lambda path: (path / "config.json").write_text(
            '{"_class_name": "UNet2DConditionModel"}', encoding="utf-8"
        ),
        "single UNet2DConditionModel",
    ),
    "damaged settings": (
        lambda path: (path / "config.json").write_text("[" * 99999, encoding="utf-8"),
        "no model_index.json",
    ),
}


@pytest.mark.parametrize(("make", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_of_another_folder_it_is_said_what_it_is(
    make: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        load_model(tmp_path)
    assert "again" not in str(error.value) and "\n" not in str(error.value)


FILES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "sd": ("a.safetensors", checkpoint, "StableDiffusionPipeline as P.*from_single_file.*save_pretrained"),
    "sdxl": (
        "a.safetensors",
        lambda path: checkpoint(path, "conditioner.embedders.1.model.x"),
        "StableDiffusionXLPipeline",
    ),
    "sd3": (
        "a.safetensors",
        lambda path: checkpoint(path, "model.diffusion_model.joint_blocks.0.x"),
        "StableDiffusion3Pipeline",
    ),
    "flux": ("a.safetensors", lambda path: checkpoint(path, "double_blocks.0.img_attn.x"), "FluxPipeline"),
    "chroma": (
        "a.safetensors",
        lambda path: checkpoint(path, "double_blocks.0.x", "distilled_guidance_layer.in_proj.weight"),
        "ChromaPipeline",
    ),
    "z-image": ("a.safetensors", lambda path: checkpoint(path, "cap_embedder.0.weight"), "ZImagePipeline"),
    "flux2": (
        "a.safetensors",
        lambda path: checkpoint(path, "double_blocks.0.x", "double_stream_modulation_img.lin.weight"),
        "the network of a Flux2KleinPipeline.*set the folder",
    ),
    "sana": ("a.safetensors", lambda path: checkpoint(path, "attention_y_norm.weight"), "of a SanaPipeline"),
    "clip": ("a.safetensors", lambda path: checkpoint(path, "visual.proj"), "no whole model"),
    "adapter": ("a.safetensors", kohya, "LoRA adapter"),
    "ckpt": ("a.ckpt", lambda path: path.write_bytes(b"x"), "never loaded"),
    "text": ("a.txt", lambda path: path.write_text("x", encoding="utf-8"), "model_index.json"),
    "not safetensors": (
        "a.safetensors",
        lambda path: path.write_text("x" * 99, encoding="utf-8"),
        "damaged or is not",
    ),
}


@pytest.mark.parametrize(("name", "make", "message"), FILES.values(), ids=FILES.keys())
def test_of_a_single_file_it_is_said_how_it_becomes_a_folder(
    name: str, make: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError, match=message) as error:
        load_model(tmp_path / name)
    assert "download it again" not in str(error.value).lower() and "\n" not in str(error.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (cut, "did not finish"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "no header": (lambda path: path.write_bytes(b"<html>" * 50), "is not a safetensors file"),
    "pointer": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8"
        ),
        "git lfs pull",
    ),
    "flax": (
        lambda path: path.rename(path.with_name("diffusion_flax_model.msgpack")),
        "only weights for Flax",
    ),
    "onnx": (lambda path: path.rename(path.with_name("model.onnx")), "only weights for ONNX"),
    "none": (lambda path: path.unlink(), "holds no weights"),
}


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_weights_that_are_not_all_there_are_named(
    damage: Callable[[Path], Any], message: str, part: str, folder: Path
) -> None:
    damage(folder / f"{part}.safetensors")
    with pytest.raises(UserError, match=message) as error:
        load_model(folder)
    assert part.partition("/")[0] in str(error.value)


def test_missing_shards_are_counted(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    tiny_pipeline().unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    shards = sorted((folder / "unet").glob("*.safetensors"))
    shards[-1].unlink()
    with pytest.raises(UserError, match=rf"lacks 1 of {len(shards)} shards, the first is {shards[-1].name}"):
        load_model(folder)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "/nowhere", "no such"])
def test_a_path_that_does_not_exist_is_no_hub_id(name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_model(name)


def test_an_unknown_class_names_those_that_are_supported(folder: Path) -> None:
    name_parts(folder, _class_name="SomeNewPipeline")
    with pytest.raises(UserError, match=r"SomeNewPipeline, which is not supported.*FluxPipeline"):
        load_model(folder)
