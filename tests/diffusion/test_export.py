"""What a run writes: a new network and the base's own files, readable by old libraries and by other users."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPImageProcessorPil

from safediffusion.diffusion.export import files_of, plain_name
from safediffusion.diffusion.load import as_diffuser, load_model
from safediffusion.diffusion.sample import generate
from tests.pipelines import FAMILIES, RESOLUTION, UNET, tiny_pipeline

TEXT = ["a red square", "a person at the beach"]
RMS = 1.9e-4  # of an adapter's change where half precision was seen to lose most of it
Tensors = dict[str, torch.Tensor]
NETWORK = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def trained(folder: Path, rank: int, **options: Any) -> Any:
    """A model with an adapter whose change has RMS, or with shifted weights."""
    diffuser: Any = load_model(folder, dtype="fp32", resolution=RESOLUTION, **options)
    parameters = diffuser.make_trainable(rank)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in parameters.items():
            if rank:
                p.normal_(std=RMS / rank**0.5 if "lora_B" in name else 1.0)
            else:
                p.add_(torch.randn_like(p) * 1e-3)
    return diffuser


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "z-image", "sana"])
@pytest.mark.parametrize("rank", [0, 4])
def test_all_but_the_trained_weights_are_the_bases_files_byte_for_byte(
    saved: Path, family: str, rank: int, tmp_path: Path
) -> None:
    trained(saved / family, rank).export(tmp_path / "model")
    before, after = files(saved / family), files(tmp_path / "model")
    lora = {"lora/pytorch_lora_weights.safetensors"} if rank else set()
    assert after.keys() == before.keys() | lora
    network = {name for name in before if before[name] != after[name]}
    assert network in ({NETWORK}, {NETWORK.replace("unet", "transformer")})


def test_a_safety_checker_that_is_not_loaded_stays_with_the_model(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (tmp_path / "base/model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for name in ("safety_checker/config.json", "safety_checker/model.safetensors"):
        (tmp_path / "base" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_text("{}", encoding="utf-8")
    CLIPImageProcessorPil().save_pretrained(tmp_path / "base/feature_extractor")
    trained(tmp_path / "base", 0).export(tmp_path / "model")
    before, after = files(tmp_path / "base"), files(tmp_path / "model")
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {NETWORK}


def test_the_tokenizer_is_the_bases_whatever_was_asked_of_it(base: Path, tmp_path: Path) -> None:
    diffuser = trained(base, 0)
    diffuser.pipeline.tokenizer(TEXT, padding="max_length", truncation=True, max_length=7)
    diffuser.export(tmp_path / "model")
    name = "tokenizer/tokenizer.json"
    assert (tmp_path / "model" / name).read_bytes() == (base / name).read_bytes()


def test_no_settings_file_tells_where_the_base_lay(base: Path, tmp_path: Path) -> None:
    moved = tmp_path / "here"
    DiffusionPipeline.from_pretrained(base).save_pretrained(moved)  # diffusers notes the path it read from
    assert str(base) in (moved / "model_index.json").read_text(encoding="utf-8")
    trained(moved, 4).export(tmp_path / "model")
    for name, content in files(tmp_path / "model").items():
        assert str(base).encode() not in content and str(tmp_path).encode() not in content, name


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_a_merged_adapter_draws_what_base_and_adapter_draw(saved: Path, family: str, tmp_path: Path) -> None:
    diffuser = trained(saved / family, 4)
    beside = generate(diffuser, TEXT, [1, 2], 4, 3.0)
    diffuser.export(tmp_path / "model")
    merged = load_model(tmp_path / "model", dtype="fp32", resolution=RESOLUTION)
    torch.testing.assert_close(generate(merged, TEXT, [1, 2], 4, 3.0), beside, atol=2e-6, rtol=0)


def lost(weights: Tensors, changes: Tensors, merged: Tensors) -> float:
    """The part of all changes together that is not in the merged weights, by norm."""
    off = torch.cat([(merged[n].double() - weights[n].double() - c).flatten() for n, c in changes.items()])
    return float(off.norm() / torch.cat([c.double().flatten() for c in changes.values()]).norm())


@pytest.mark.parametrize("dtype, most", [(torch.float32, 1e-4), (torch.float16, 0.2)])
@pytest.mark.parametrize("storage", ["fp32", "bf16"])
def test_merging_keeps_the_adapter_that_half_precision_would_lose(
    base: Path, tmp_path: Path, storage: str, dtype: torch.dtype, most: float
) -> None:
    diffuser = trained(base, 4, storage=storage)
    diffuser.export(tmp_path / "model", dtype)
    old, new = load_file(base / NETWORK), load_file(tmp_path / "model" / NETWORK)
    changes = {
        f"{name}.weight": layer.get_delta_weight("default").detach()
        for name, layer in diffuser.network.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    assert torch.cat([c.flatten() for c in changes.values()]).square().mean().sqrt() == pytest.approx(
        RMS, rel=0.2
    )
    assert {value.dtype for value in new.values()} == {dtype}
    assert lost(old, changes, new) < most
    rounded = {name: old[name].bfloat16() for name in changes}  # what merging in bfloat16 would do
    assert lost(rounded, changes, {name: rounded[name] + changes[name].bfloat16() for name in changes}) > 0.5
    same = old.keys() - changes.keys()
    assert all(torch.equal(new[name], old[name].to(dtype)) for name in same)


@pytest.mark.parametrize("family", ["chroma", "z-image", "flux2", "sana"])
def test_an_adapter_alone_has_its_whole_effect_in_diffusers(family: str, tmp_path: Path) -> None:
    """These have no kohya file, so this is the form in which an adapter is passed on."""
    diffuser: Any = as_diffuser(FAMILIES[family](), resolution=RESOLUTION)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in diffuser.make_trainable(4).values():
            p.normal_()
    diffuser.export(tmp_path / "model")
    base: Any = FAMILIES[family]()
    base.load_lora_weights(tmp_path / "model/lora", weight_name="pytorch_lora_weights.safetensors")
    ours, theirs = (deltas(network) for network in (diffuser.network, base.transformer))
    assert ours.keys() == theirs.keys() and ours
    for name, change in ours.items():
        torch.testing.assert_close(theirs[name], change)
    for strength in (0.5, -1.0):
        base.set_adapters(base.get_active_adapters(), strength)
        for name, change in deltas(base.transformer).items():
            torch.testing.assert_close(change, strength * ours[name])


def deltas(network: Any) -> Tensors:
    """What the adapter in a network adds to each weight."""
    return {
        name: layer.get_delta_weight(layer.active_adapters[0]).detach()
        for name, layer in network.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def peak(start: bool) -> int:
    """Most bytes that this process had in memory; `start` begins anew."""
    if start:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", status)[0])


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux tells the peak memory")
@pytest.mark.parametrize(("rank", "dtype"), [(4, torch.float32), (0, torch.float16)])
def test_writing_takes_little_more_memory_than_the_largest_tensor(
    tmp_path: Path, rank: int, dtype: torch.dtype
) -> None:
    pipeline: Any = tiny_pipeline()
    pipeline.register_modules(unet=UNet2DConditionModel(**UNET | {"block_out_channels": (128, 512)}))
    pipeline.save_pretrained(tmp_path / "base")
    diffuser = trained(tmp_path / "base", rank, storage="bf16" if rank else "fp32")
    weights = (tmp_path / "base" / NETWORK).stat().st_size
    assert weights > 60 * 2**20
    begun = peak(start=True)
    diffuser.export(tmp_path / "model", dtype)
    assert peak(start=False) - begun < weights / 2
    written = load_file(tmp_path / "model" / NETWORK)
    assert written.keys() == load_file(tmp_path / "base" / NETWORK).keys()


@pytest.mark.parametrize("rank", [0, 4])
def test_a_large_network_is_written_in_several_files(
    base: Path, tmp_path: Path, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffuser = trained(base, rank)
    diffuser.export(tmp_path / "one")
    monkeypatch.setattr("safediffusion.diffusion.network_file.SHARD", "100KB")
    diffuser.export(tmp_path / "many")
    assert len(list((tmp_path / "many/unet").glob("*-of-*.safetensors"))) > 2
    one, many = (UNet2DConditionModel.from_pretrained(tmp_path / name / "unet") for name in ("one", "many"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), many.parameters(), strict=True))


def test_a_runs_result_is_looked_at_unrounded_whatever_the_storage(base: Path, tmp_path: Path) -> None:
    trained(base, 4, storage="bf16").export(tmp_path / "model")
    looked = load_model(tmp_path / "model", storage="bf16", dtype="fp32", merged=True)
    written = load_file(tmp_path / "model" / NETWORK)
    assert all(torch.equal(value, written[name]) for name, value in looked.network.state_dict().items())
    assert next(looked.pipeline.text_encoder.parameters()).dtype == torch.bfloat16


def test_a_pipeline_made_in_memory_is_written_anew_and_portable(tmp_path: Path) -> None:
    diffuser = as_diffuser(tiny_pipeline())
    diffuser.make_trainable(4)
    diffuser.export(tmp_path / "model")
    assert (tmp_path / "model/tokenizer/vocab.json").is_file()
    names = load_file(tmp_path / "model/text_encoder/model.safetensors")
    assert all(name.startswith("text_model.") for name in names)


def test_a_base_that_is_gone_is_written_anew_from_memory(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(base, tmp_path / "base")
    diffuser = trained(tmp_path / "base", 4)
    beside = generate(diffuser, TEXT, [1, 2], 4, 3.0)
    shutil.rmtree(tmp_path / "base")
    diffuser.export(tmp_path / "model")
    assert "written anew" in caplog.text
    merged = load_model(tmp_path / "model", dtype="fp32")
    torch.testing.assert_close(generate(merged, TEXT, [1, 2], 4, 3.0), beside, atol=2e-6, rtol=0)


def test_variant_only_parts_are_written_under_plain_names(base: Path, tmp_path: Path) -> None:
    DiffusionPipeline.from_pretrained(base).to(torch.float16).save_pretrained(
        tmp_path / "base", variant="fp16"
    )
    assert (tmp_path / "base/vae/diffusion_pytorch_model.fp16.safetensors").is_file()
    pipeline: Any = DiffusionPipeline.from_pretrained(tmp_path / "base", variant="fp16")
    diffuser: Any = as_diffuser(pipeline.to(torch.float32))
    diffuser.make_trainable(4)
    diffuser.export(tmp_path / "model")
    opened = DiffusionPipeline.from_pretrained(tmp_path / "model")
    assert type(opened).__name__ == "StableDiffusionPipeline"
    name = "vae/diffusion_pytorch_model"
    copied = (tmp_path / "model" / f"{name}.safetensors").read_bytes()
    assert copied == (tmp_path / "base" / f"{name}.fp16.safetensors").read_bytes()


def test_sharded_variants_load_plainly(base: Path, tmp_path: Path) -> None:
    pipeline: Any = DiffusionPipeline.from_pretrained(base)
    pipeline.save_pretrained(tmp_path / "base")
    for name in ("vae", "unet"):
        for file in (tmp_path / "base" / name).glob("*.safetensors"):
            file.unlink()
        getattr(pipeline, name).save_pretrained(
            tmp_path / "base" / name, variant="fp16", max_shard_size="20KB"
        )
    loaded: Any = DiffusionPipeline.from_pretrained(tmp_path / "base", variant="fp16")
    diffuser: Any = as_diffuser(loaded)
    diffuser.make_trainable(4)
    diffuser.export(tmp_path / "model")
    opened: Any = DiffusionPipeline.from_pretrained(tmp_path / "model")
    for name, value in opened.vae.state_dict().items():
        assert torch.equal(value, pipeline.vae.state_dict()[name])
    assert "fp16" not in "".join(files(tmp_path / "model"))


@pytest.mark.parametrize(
    "there, taken",
    [
        (["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model.fp16.safetensors", "pytorch_model.bin"], ["model.fp16.safetensors"]),
        (["pytorch_model.bin", "pytorch_model.fp16.bin", "model.onnx"], ["pytorch_model.bin"]),
        (["diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.safetensors"], [
            "diffusion_pytorch_model.safetensors"
        ]),
        (["model-00001-of-00001.safetensors", "model.safetensors.index.json", "model.fp16.safetensors"],
         ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]),
        (["openvino_model.bin", "flax_model.msgpack", "rust_model.ot", "code.py"], []),
    ],
)  # fmt: skip
def test_one_set_of_weights_is_copied(there: list[str], taken: list[str], tmp_path: Path) -> None:
    for name in [*there, "config.json", "merges.txt"]:
        (tmp_path / name).touch()
    assert sorted(p.name for p in files_of(tmp_path)) == sorted([*taken, "config.json", "merges.txt"])


@pytest.mark.parametrize(
    "name, plain",
    [
        ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"),
        ("model.fp16-00001-of-00002.safetensors", "model-00001-of-00002.safetensors"),
        ("model-00001-of-00002.fp16.safetensors", "model-00001-of-00002.safetensors"),
        ("model.safetensors.index.fp16.json", "model.safetensors.index.json"),
        ("scheduler_config.json", "scheduler_config.json"),
        ("model.safetensors", "model.safetensors"),
    ],
)
def test_a_variant_leaves_the_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@pytest.mark.usefixtures("narrow_umask")
def test_files_have_the_mode_that_the_umask_gives(base: Path, tmp_path: Path) -> None:
    for file in base.rglob("*.safetensors"):
        file.chmod(0o600)
    trained(base, 4).export(tmp_path / "model")
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "model").rglob("*") if p.is_file()}
    assert set(modes.values()) == {"0o640"}, modes


def test_a_linked_file_that_the_libraries_do_not_read_is_not_copied(tmp_path: Path):
    part, elsewhere = tmp_path / "base" / "tokenizer", tmp_path / "elsewhere.txt"
    part.mkdir(parents=True)
    elsewhere.write_text("private", encoding="utf-8")
    (part / "notes.txt").symlink_to(elsewhere)
    (part / "merges.txt").symlink_to(elsewhere)  # as the hub's cache links it
    (part / "own.txt").write_text("the base's own", encoding="utf-8")
    assert [path.name for path in files_of(part)] == ["merges.txt", "own.txt"]
