import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline, UNet2DModel

from safediffusion.diffusion import noise
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.sample import generate
from safediffusion.diffusion.swap_weights import swapped
from safediffusion.errors import UserError


def plain_images(pipeline, prompt, seed, steps=4, guidance=3.0):
    """What diffusers itself draws from the same initial noise."""
    unet = pipeline.unet.config
    z = noise.normal([(noise.SAMPLE, seed)], (1, unet.in_channels, unet.sample_size, unet.sample_size))[:, 0]
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt, latents=z, num_inference_steps=steps, guidance_scale=guidance, output_type="pt"
    ).images


def perturb(parameters, scale=0.05):
    torch.manual_seed(7)
    with torch.no_grad():
        for p in parameters:
            p.add_(scale * torch.randn_like(p))


def inputs(diffuser, n=3):
    torch.manual_seed(1)
    return (
        torch.randn(n, *diffuser.latent_shape),
        torch.tensor([10, 400, 900]),
        diffuser.encode(["a person"] * n),
    )


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_generate_equals_the_plain_pipeline(make_pipeline, guidance):
    pipeline = make_pipeline()
    ours = generate(StableDiffusion(pipeline, "cpu"), ["a red square"], [5], 4, guidance)
    torch.testing.assert_close(
        ours, plain_images(pipeline, "a red square", 5, guidance=guidance), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("rank", [0, 4])
def test_reference_is_the_network_before_training(make_pipeline, rank):
    diffuser = StableDiffusion(make_pipeline(), "cpu")
    parameters = diffuser.make_trainable(rank)
    before = diffuser.predict(*inputs(diffuser), 3.0)
    diffuser.keep_reference()
    perturb(parameters.values())
    changed = diffuser.predict(*inputs(diffuser), 3.0)
    with torch.no_grad(), diffuser.reference():
        assert torch.equal(diffuser.predict(*inputs(diffuser), 3.0), before)
    assert torch.equal(diffuser.predict(*inputs(diffuser), 3.0), changed)
    assert not torch.allclose(changed, before, atol=1e-4)
    assert all(p.requires_grad for p in parameters.values())


def test_an_adapter_can_be_on_named_attention_layers_alone(make_pipeline):
    targets = ["attn2.to_k", "attn2.to_v"]
    names = StableDiffusion(make_pipeline(), "cpu").make_trainable(4, targets=targets)
    assert {name.split(".lora_")[0].split(".", 1)[1].rsplit("attn", 1)[1] for name in names} == {
        "2.to_k",
        "2.to_v",
    }
    everywhere = StableDiffusion(make_pipeline(), "cpu").make_trainable(4)
    assert names.keys() < everywhere.keys()


@pytest.mark.parametrize(
    ("target", "hint"),
    [("attn2.to_kk", r"did you mean attn2\.to_k\?"), ("0", "known: attn1"), ("conv_in", "known: attn1")],
)
def test_a_place_where_no_adapter_can_be_exported_from_is_refused(make_pipeline, target, hint):
    with pytest.raises(UserError, match=rf"train\.lora_targets has {target}.*{hint}"):
        StableDiffusion(make_pipeline(), "cpu").make_trainable(4, targets=[target])


@pytest.mark.parametrize("rank", [0, 4])
def test_export_is_loaded_by_plain_diffusers_and_draws_the_same(make_pipeline, rank, tmp_path):
    diffuser = StableDiffusion(make_pipeline(), "cpu")
    untrained = generate(diffuser, ["a person"], [2], 4, 3.0)
    perturb(diffuser.make_trainable(rank).values())
    trained = generate(diffuser, ["a person"], [2], 4, 3.0)
    assert not torch.allclose(trained, untrained, atol=1e-2)
    diffuser.export(tmp_path / "model")
    plain = StableDiffusionPipeline.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(plain_images(plain, "a person", 2), trained, atol=1e-4, rtol=0)
    if rank:
        base = make_pipeline()
        base.load_lora_weights(tmp_path / "model" / "lora")
        torch.testing.assert_close(plain_images(base, "a person", 2), trained, atol=1e-4, rtol=0)


def test_one_call_shape_makes_rows_independent_of_their_batch(make_pipeline):
    diffuser = StableDiffusion(make_pipeline(), "cpu", torch.bfloat16)
    diffuser.call_rows = 4
    x, t, cond = inputs(diffuser)
    together = diffuser.predict(x, t, cond, 3.0)
    apart = torch.cat([diffuser.predict(x[i : i + 1], t[i : i + 1], cond[i : i + 1], 3.0) for i in range(3)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_network_in_half_precision_answers_in_float32(make_pipeline, dtype):
    diffuser = StableDiffusion(make_pipeline(), "cpu", dtype)
    exact = StableDiffusion(make_pipeline(), "cpu")
    half, full = diffuser.predict(*inputs(diffuser), 1.0), exact.predict(*inputs(exact), 1.0)
    assert half.dtype == torch.float32 and next(diffuser.pipeline.unet.parameters()).dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.1


def test_swapped_weights_come_back_after_an_error():
    parameter = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError), swapped([parameter], [torch.ones(2)]):
        assert parameter.sum() == 2
        raise ValueError
    assert parameter.sum() == 0


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model_index\.json"):
        load_model(tmp_path)


def test_an_unsupported_pipeline_is_named_with_the_supported_ones(tmp_path):
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"DDPMPipeline.*StableDiffusionPipeline"):
        load_model(tmp_path)


def test_a_saved_pipeline_loads_and_predicts_the_same(make_pipeline, tmp_path):
    pipeline = make_pipeline()
    pipeline.save_pretrained(tmp_path)
    loaded, built = load_model(tmp_path, dtype="fp32"), StableDiffusion(pipeline, "cpu")
    assert torch.equal(loaded.predict(*inputs(built), 3.0), built.predict(*inputs(built), 3.0))
