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


def checkpoint(path: Path, *others: str, channels: int = 4) -> None:
    """The beginning of a checkpoint in a single file, and further tensors by name."""
    first = {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(8, channels, 3, 3)}
    save_file(first | {name: torch.ones(2) for name in others}, path)


OTHERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: None, "it is empty"),
    "notes": (lambda path: (path / "a.txt").write_text("x", encoding="utf-8"), "it has no model_index.json"),
    "adapter of diffusers": (lambda path: lora(path / "pytorch_lora_weights.safetensors"), "LoRA adapter"),
    "adapter of peft": (lambda path: lora(path / "adapter_model.safetensors"), "LoRA adapter"),
    "adapter of kohya": (lambda path: kohya(path / "mine.safetensors"), "LoRA adapter"),
    "checkpoint": (lambda path: checkpoint(path / "mine.safetensors"), "set model.path=.*mine.safetensors"),
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


def named(*names: str) -> Callable[[Path], None]:
    return lambda path: save_file({name: torch.ones(2) for name in names}, path)


FILES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "inpainting": ("a.safetensors", lambda path: checkpoint(path, channels=9), "an inpainting model"),
    "editing": ("a.safetensors", lambda path: checkpoint(path, channels=8), "edits pictures"),
    "other": ("a.safetensors", lambda path: checkpoint(path, channels=7), "a model of 7 channels"),
    "controlnet": ("a.safetensors", named("control_model.time_embed.0.weight"), "a ControlNet"),
    "refiner": (
        "a.safetensors",
        lambda path: checkpoint(path, "conditioner.embedders.0.model.ln_final.bias"),
        "SDXL's refiner",
    ),
    "playground": ("a.safetensors", lambda path: checkpoint(path, "edm_mean"), "Playground v2.5"),
    "sd3": ("a.safetensors", named("model.diffusion_model.joint_blocks.0.x"), "Stable Diffusion 3.*hub id"),
    "flux": ("a.safetensors", named("double_blocks.0.img_attn.x"), "FLUX.*folder or hub id"),
    "z-image": ("a.safetensors", named("cap_embedder.0.weight"), "Z-Image.*folder or hub id"),
    "sana": ("a.safetensors", named("attention_y_norm.weight"), "SANA.*folder or hub id"),
    "network": ("a.safetensors", named("down_blocks.0.resnets.0.norm1.bias"), "network of diffusers.*--unet"),
    "embedding": ("a.safetensors", named("emb_params"), "textual inversion"),
    "clip": ("a.safetensors", named("visual.proj"), "no whole model"),
    "adapter": ("a.safetensors", kohya, "LoRA adapter"),
    "dora": (
        "a.safetensors",
        named("lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight", "lora_unet_a.dora_scale"),
        "LoRA adapter",
    ),
    "no text encoder": ("a.safetensors", checkpoint, r"no vae and no text_encoder; set model.config"),
    "ckpt": ("a.ckpt", lambda path: path.write_bytes(b"x"), "never loaded.*weights_only=True"),
    "pt": ("a.pt", lambda path: path.write_bytes(b"x"), "never loaded"),
    "gguf": ("a.gguf", lambda path: path.write_bytes(b"x"), "a file and not .safetensors"),
    "text": ("a.txt", lambda path: path.write_text("x", encoding="utf-8"), "model_index.json"),
    "not safetensors": (
        "a.safetensors",
        lambda path: path.write_text("x" * 99, encoding="utf-8"),
        "damaged or is not",
    ),
}


@pytest.mark.parametrize(("name", "make", "message"), FILES.values(), ids=FILES.keys())
def test_of_a_file_that_is_not_loaded_it_is_said_what_it_is(
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


def test_an_index_of_a_variant_that_was_not_downloaded_does_no_harm(saved: Path, folder: Path) -> None:
    """As from `hf download --include '*.json' '*.fp16.safetensors'`."""
    tiny_pipeline().save_pretrained(folder, variant="fp16")
    for file in (folder / "unet").glob("*model.safetensors"):
        file.unlink()
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(index), encoding="utf-8"
    )
    assert same(weights(folder), weights(saved))


def test_a_shard_without_its_index_is_refused(folder: Path) -> None:
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    with pytest.raises(UserError, match=r"-00001-of-00002.safetensors without the index"):
        load_model(folder)


def test_the_variant_that_is_set_is_loaded_and_exported(folder: Path, tmp_path: Path) -> None:
    other = tiny_pipeline(seed=1)
    other.save_pretrained(folder, variant="fp16")
    model = load_model(folder, dtype="fp32", variant="fp16")
    assert same(model.pipeline.unet.state_dict(), other.unet.state_dict())
    model.make_trainable(2)
    model.export(tmp_path / "out")
    exported = load_model(tmp_path / "out", dtype="fp32").pipeline
    assert same(exported.unet.state_dict(), other.unet.state_dict())  # a fresh adapter adds nothing
    assert same(exported.text_encoder.state_dict(), other.text_encoder.state_dict())


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no variant fp16: unet/ has plain weights.*model.variant"):
        load_model(folder, variant="fp16")


@pytest.mark.parametrize("key", ["config", "prediction"])
def test_what_is_for_a_single_file_is_refused_for_a_folder(key: str, folder: Path) -> None:
    with pytest.raises(UserError, match=f"model.{key} is for a checkpoint in a single file"):
        load_model(folder, **{key: {"config": str(folder), "prediction": "epsilon"}[key]})


def test_a_revision_is_refused_for_what_is_on_this_machine(folder: Path) -> None:
    with pytest.raises(UserError, match=r"model.revision=abc is of a repository on the hub"):
        load_model(folder, revision="abc")


def test_an_unknown_class_names_those_that_are_supported(folder: Path) -> None:
    name_parts(folder, _class_name="SomeNewPipeline")
    with pytest.raises(UserError, match=r"SomeNewPipeline, which is not supported.*FluxPipeline"):
        load_model(folder)
