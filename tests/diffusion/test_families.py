"""Every family equals its plain diffusers pipeline, and can be trained, put back and exported."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.families.flux import image_ids, pack, unpack
from safediffusion.diffusion.families.flux2 import time_shift
from safediffusion.diffusion.load import DTYPES, as_diffuser, load_model
from safediffusion.diffusion.sample import generate
from safediffusion.errors import UserError
from safediffusion.run.preflight import check_model
from tests import pipelines
from tests.pipelines import FAMILIES, RESOLUTION, tiny_flux, tiny_flux2

NEW = pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "chroma", "z-image", "flux2", "sana"])
TEXT = "a red square"


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family's tiny pipeline as a folder."""
    root = tmp_path_factory.mktemp("families")
    for name, make in FAMILIES.items():
        make().save_pretrained(root / name)
    return root


def load(folder: Path, dtype: str = "fp32", **options: Any) -> Any:
    return load_model(folder, dtype=dtype, resolution=RESOLUTION, **options)


def plain_images(pipeline: Any, diffuser: Any, guidance: float, prompt: str = TEXT) -> torch.Tensor:
    """What diffusers itself draws from the same initial noise."""
    z = noise.normal([(noise.SAMPLE, 5)], (1, *diffuser.latent_shape))[:, 0]
    return pipelines.plain_images(pipeline, z, 4, guidance, prompt)


def perturb(parameters: Any) -> None:
    torch.manual_seed(7)
    with torch.no_grad():
        for p in parameters:
            p.add_(0.05 * torch.randn_like(p))


def inputs(diffuser: Any) -> tuple[Any, ...]:
    torch.manual_seed(1)
    t = torch.tensor([125.0, 250.0, 500.0])  # exact in bf16, in which some networks keep the time
    return torch.randn(3, *diffuser.latent_shape), t, diffuser.encode(["a person"] * 3)


@NEW
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_generate_equals_the_plain_pipeline(saved: Path, family: str, guidance: float) -> None:
    diffuser = load(saved / family)
    ours = generate(diffuser, [TEXT], [5], 4, guidance)
    theirs = plain_images(DiffusionPipeline.from_pretrained(saved / family), diffuser, guidance)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert ours.shape == (1, 3, RESOLUTION, RESOLUTION) and ours.std() > 0


@NEW
@pytest.mark.parametrize("rank", [0, 4])
def test_reference_export_and_adapter(saved: Path, family: str, rank: int, tmp_path: Path) -> None:
    diffuser = load(saved / family)
    with torch.no_grad():
        parameters = diffuser.make_trainable(rank)
        before = diffuser.predict(*inputs(diffuser), 3.0)
        diffuser.keep_reference()
        perturb(parameters.values())
        changed = diffuser.predict(*inputs(diffuser), 3.0)
        assert not torch.allclose(changed, before, atol=1e-4)
        with diffuser.reference():
            assert torch.equal(diffuser.predict(*inputs(diffuser), 3.0), before)
        assert torch.equal(diffuser.predict(*inputs(diffuser), 3.0), changed)
    trained = generate(diffuser, [TEXT], [5], 4, 3.0)
    diffuser.export(tmp_path)
    merged = DiffusionPipeline.from_pretrained(tmp_path)
    torch.testing.assert_close(plain_images(merged, diffuser, 3.0), trained, atol=1e-4, rtol=0)
    if rank:
        base = DiffusionPipeline.from_pretrained(saved / family)
        base.load_lora_weights(tmp_path / "lora")
        torch.testing.assert_close(plain_images(base, diffuser, 3.0), trained, atol=1e-4, rtol=0)
        assert torch.equal(diffuser.predict(*inputs(diffuser), 3.0), changed)  # export left it alone


@NEW
def test_one_call_shape_makes_rows_independent_of_their_batch(saved: Path, family: str) -> None:
    diffuser = load(saved / family, "bf16")
    diffuser.call_rows = 4
    x, t, cond = inputs(diffuser)
    with torch.no_grad():
        together = diffuser.predict(x, t, cond, 3.0)
        rows = [slice(i, i + 1) for i in range(3)]
        apart = torch.cat([diffuser.predict(x[i], t[i], cond[i], 3.0) for i in rows])
    assert together.dtype == torch.float32 and torch.equal(together, apart)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("storage", ["bf16", "fp16"])
def test_half_storage_halves_frozen_weights_and_trains_adapters_in_float32(
    saved: Path, family: str, storage: str
) -> None:
    diffuser = load(saved / family, "auto", storage=storage)
    exact = load(saved / family)
    adapter = diffuser.make_trainable(4)
    assert {p.dtype for p in adapter.values()} == {torch.float32}
    frozen = [p for p in diffuser.network.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {diffuser.dtype} == {DTYPES[storage]}
    assert {p.dtype for p in diffuser.pipeline.vae.parameters()} == {torch.float32}
    half, full = (d.predict(*inputs(d), 1.0) for d in (diffuser, exact))
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.1 * full.abs().max()  # bf16 has three digits
    half.square().mean().backward()
    assert all(p.grad is not None for p in adapter.values())


def test_waiting_encoders_and_sliced_decoding_change_no_bit(saved: Path) -> None:
    usual, saving = load(saved / "sd3"), load(saved / "sd3", vae="tiled", offload=True)
    assert [type(e).__name__ for e in saving.encoders.networks][-1] == "T5EncoderModel"
    assert saving.pipeline.vae.use_slicing and saving.pipeline.vae.use_tiling
    ours, theirs = (generate(d, [TEXT, "a person"], [1, 2], 3, 2.0) for d in (usual, saving))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    with saving.awake():
        assert torch.equal(saving.encode([TEXT]).tokens, usual.encode([TEXT]).tokens)


def test_flux_packing_is_diffusers_own() -> None:
    pipeline, latents = tiny_flux(), torch.randn(2, 4, 8, 6)
    packed = pack(latents)
    assert torch.equal(packed, pipeline._pack_latents(latents, 2, 4, 8, 6))
    assert torch.equal(unpack(packed, 8, 6), latents)
    theirs = pipeline._prepare_latent_image_ids(1, 4, 3, torch.device("cpu"), torch.float32)
    assert torch.equal(image_ids(4, 3, torch.device("cpu")), theirs)


def test_flux_without_guidance_input_ignores_guidance(tmp_path: Path) -> None:
    tiny_flux(guidance_embeds=False).save_pretrained(tmp_path)
    diffuser = load(tmp_path)
    with torch.no_grad():
        assert torch.equal(diffuser.predict(*inputs(diffuser), 1.0), diffuser.predict(*inputs(diffuser), 5.0))


def test_a_resolution_that_does_not_fit_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match=r"model\.resolution is 18"):
        load_model(saved / "sd", resolution=18)


def test_a_resolution_far_above_the_native_one_is_refused(saved: Path) -> None:
    assert load_model(saved / "sd", resolution=64).resolution == 64
    with pytest.raises(UserError, match=r"set it to 64 or less"):
        load_model(saved / "sd", resolution=68)


def test_a_truncated_weights_file_is_refused_by_name(tmp_path: Path) -> None:
    FAMILIES["sd3"]().save_pretrained(tmp_path)
    weights = tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"transformer/diffusion_pytorch_model.safetensors .* did not finish"):
        load_model(tmp_path)


def test_the_time_shift_of_flux2_is_its_publishers() -> None:
    for tokens in (16, 1024, 4096, 4300, 5000):
        for steps in (4, 10, 50, 200):
            assert time_shift(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps))


def test_guidance_of_a_distilled_flux2_is_refused_by_name() -> None:
    diffuser = as_diffuser(tiny_flux2(distilled=True), resolution=RESOLUTION)
    assert generate(diffuser, [TEXT], [5], 2, 1.0).std() > 0
    with pytest.raises(UserError, match=r"Flux2KleinPipeline is distilled.*rollout\.guidance=1"):
        generate(diffuser, [TEXT], [5], 2, 4.0)
    with pytest.raises(UserError, match=r"is distilled"):
        check_model(RunConfig.model_validate({"rollout": {"guidance": 4.0}}), diffuser, 1)


def test_the_adapter_of_flux2_covers_both_kinds_of_blocks() -> None:
    diffuser = as_diffuser(tiny_flux2(), resolution=RESOLUTION)
    placed = {name.partition(".lora_")[0] for name in diffuser.make_trainable(2)}
    single = {f"single_transformer_blocks.0.attn.{name}" for name in ("to_qkv_mlp_proj", "to_out")}
    double = {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"}
    assert placed == single | {f"transformer_blocks.0.attn.{name}" for name in double}


def test_texts_that_are_padded_differently_are_called_apart(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Z-Image pads the texts of a call to the longest: beside it a short one would have another shape."""
    diffuser = load(saved / "z-image", "bf16")
    diffuser.call_rows = 2
    cond = diffuser.encode([TEXT, "a person at the beach " * 3, TEXT])
    x, t = torch.randn(3, *diffuser.latent_shape), torch.tensor([125.0, 250.0, 500.0])
    plain, calls = diffuser.network.forward, []

    def noting(latents: Any, times: Any, texts: Any, **options: Any) -> Any:
        calls.append([-(-len(text) // 32) for text in texts])
        return plain(latents, times, texts, **options)

    monkeypatch.setattr(diffuser.network, "forward", noting)
    with torch.no_grad():
        together = diffuser.predict(x, t, cond, 1.0)
        apart = [diffuser.predict(x[i : i + 1], t[i : i + 1], cond[i : i + 1], 1.0) for i in range(3)]
    assert torch.equal(together, torch.cat(apart))
    assert len(calls) == 2 + 3 and all(one == other for one, other in calls) and calls[0] != calls[1]


def test_another_scheduler_of_sana_is_refused() -> None:
    pipeline = FAMILIES["sana"]()
    pipeline.scheduler = DPMSolverMultistepScheduler()
    with pytest.raises(UserError, match=r"use_flow_sigmas"):
        as_diffuser(pipeline, resolution=RESOLUTION)
