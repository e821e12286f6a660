"""Safe latent diffusion against diffusers' own implementation, and in the two parametrisations."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.pipelines.deprecated.stable_diffusion_safe import StableDiffusionPipelineSafe
from torch import Tensor

from safediffusion.baselines import sld
from safediffusion.baselines.sld import SLD, STRENGTHS, Strength, noise_factor, safety_guidance
from safediffusion.diffusion.ddim import Prediction, split_prediction
from tests.baselines.samplers import PROMPTS, ours, start, tiny
from tests.pipelines import RESOLUTION, tiny_pipeline

CONCEPTS = ("sunbathing", "at the beach")
STEPS = 50  # of which the published warm-ups are


def released(prediction: str, strength: Strength, guidance: float) -> Tensor:
    """Pictures (n, 3, h, w) of diffusers' pipeline."""
    parts = dict(tiny_pipeline(prediction).components)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = StableDiffusionPipelineSafe(**parts, requires_safety_checker=False)
        pipeline.safety_concept = ", ".join(CONCEPTS)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            list(PROMPTS),
            height=RESOLUTION,
            width=RESOLUTION,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            latents=start(tiny(), len(PROMPTS)),
            output_type="np",
            sld_guidance_scale=strength.scale,
            sld_warmup_steps=strength.warmup,
            sld_threshold=strength.threshold,
            sld_momentum_scale=strength.momentum,
            sld_mom_beta=strength.decay,
            return_dict=False,
        )[0]
    return torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def bare() -> Tensor:
    """Pictures of the model alone."""
    diffuser = tiny()
    return diffuser.decode(ours(diffuser, steps=STEPS))


@pytest.mark.parametrize("method", SLD, ids=lambda method: method.name)
def test_pictures_are_those_of_the_released_pipeline(method: sld.SafeLatentDiffusion, bare: Tensor) -> None:
    diffuser = tiny()
    with method.acting(diffuser, CONCEPTS):
        images = diffuser.decode(ours(diffuser, steps=STEPS))
    assert (images - bare).abs().max() > 1e-3
    torch.testing.assert_close(images, released("epsilon", method.strength, 3.0), atol=1e-5, rtol=0)


def test_thresholds_on_the_output_are_what_the_release_does_with_v(monkeypatch: pytest.MonkeyPatch) -> None:
    method = SLD[2]
    with method.acting(diffuser := tiny("sd-v"), CONCEPTS):
        on_noise = diffuser.decode(ours(diffuser, steps=STEPS))
    monkeypatch.setattr(sld, "noise_factor", lambda scheduler, timestep: 1.0)
    with method.acting(diffuser := tiny("sd-v"), CONCEPTS):
        on_output = diffuser.decode(ours(diffuser, steps=STEPS))
    torch.testing.assert_close(on_output, released("v_prediction", method.strength, 3.0), atol=1e-5, rtol=0)
    assert (on_output - on_noise).abs().max() > 1e-4


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
def test_the_same_noise_is_guided_alike_in_every_parametrisation(
    strength: Strength, prediction: Prediction
) -> None:
    scheduler, t = tiny().scheduler, 601
    alpha = scheduler.alphas_cumprod[t].double()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    noises = [torch.randn_like(x) * 0.1 + x for _ in range(3)]
    signal, deviation = alpha.sqrt(), (1 - alpha).sqrt()
    outputs = {
        "v_prediction": [(eps - deviation * x) / signal for eps in noises],
        "sample": [(x - deviation * eps) / signal for eps in noises],
    }[prediction]
    zero = torch.zeros_like(x)
    gamma, momentum = safety_guidance(noises, zero, strength, noise_factor(scheduler, t))
    scheduler.register_to_config(prediction_type=prediction)
    factor = noise_factor(scheduler, t)
    other, other_momentum = safety_guidance(outputs, zero, strength, factor)
    assert gamma.abs().max() > 0.01
    torch.testing.assert_close(factor * other, gamma, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(factor * other_momentum, momentum, atol=1e-6, rtol=1e-5)
    guided = [part[0] + 3 * (part[1] - part[0] - g) for part, g in ((noises, gamma), (outputs, other))]
    read = split_prediction(guided[1], x, alpha, prediction)[1]
    torch.testing.assert_close(read, guided[0], atol=1e-6, rtol=1e-5)


def test_it_acts_only_below_the_concept_plus_the_threshold() -> None:
    free, concept = torch.zeros(3), torch.ones(3)
    prompt = torch.tensor([0.9, 1.02, 1.5])
    strength = Strength(warmup=0, scale=5.0, threshold=0.03, momentum=0.0, decay=0.5)
    gamma, momentum = safety_guidance((free, prompt, concept), torch.zeros(3), strength, 1.0)
    torch.testing.assert_close(gamma, torch.tensor([0.5, 0.1, 0.0]))
    torch.testing.assert_close(momentum, gamma / 2)


def test_a_warm_up_as_long_as_sampling_is_the_model_alone() -> None:
    diffuser = tiny()
    bare = ours(diffuser)
    asleep = replace(SLD[3], strength=replace(STRENGTHS["max"], warmup=50))
    with asleep.acting(diffuser, CONCEPTS):
        torch.testing.assert_close(ours(diffuser), bare, atol=1e-6, rtol=0)


def test_the_warm_up_is_a_share_of_the_steps() -> None:
    """With 10 steps, delta 15 of 50 is 3 steps."""
    diffuser = tiny()
    paths = {}
    for warmup in (11, 15, 20):
        with replace(SLD[3], strength=replace(STRENGTHS["max"], warmup=warmup)).acting(diffuser, CONCEPTS):
            paths[warmup] = ours(diffuser, steps=10)
    with replace(SLD[3], strength=replace(STRENGTHS["max"], warmup=14)).acting(diffuser, CONCEPTS):
        assert torch.equal(ours(diffuser, steps=10), paths[15])
    assert not torch.allclose(paths[11], paths[15]) and not torch.allclose(paths[15], paths[20])
