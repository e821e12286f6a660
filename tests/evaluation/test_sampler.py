"""The library's pipelines as evaluations draw with them: every family as it is meant to be drawn."""

from typing import Any

import pytest
import torch

from safediffusion.diffusion.load import as_diffuser
from safediffusion.errors import UserError
from safediffusion.evaluation.options import EvaluationOptions
from safediffusion.evaluation.sampler import FLOW, SCHEDULERS, Sampler, fitted, sample_rows
from safediffusion.evaluation.sources.pipeline import PipelineSource
from safediffusion.evaluation.tasks import get_task
from tests.pipelines import FAMILIES, RESOLUTION, tiny_flux2, tiny_pipeline

PUBLISHED = Sampler(3, 2.0, name="pndm", size=512, generator="cuda")
ROW = {"prompt": "a red square", "seed": 5, "guidance": 4.0, "width": 512, "height": 512}
IS_FLOW = {family: not family.startswith(("sd-v", "sdxl")) and family != "sd" for family in FAMILIES}


def model(family: str, dtype: torch.dtype = torch.float32) -> Any:
    pipeline: Any = FAMILIES[family]()
    pipeline.set_progress_bar_config(disable=True)
    return as_diffuser(pipeline, dtype=dtype, resolution=RESOLUTION)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_those_of_the_plain_pipeline(family: str) -> None:
    diffuser = model(family)
    sampler, (row,) = fitted(PUBLISHED, [ROW], diffuser)
    assert (sampler.size, sampler.generator) == (RESOLUTION, "cpu") and "width" not in row
    assert (sampler.name in FLOW.values(), "guidance" not in row) == (IS_FLOW[family],) * 2
    (image,) = sample_rows(diffuser, sampler, [row])
    plain: Any = FAMILIES[family]()
    plain.set_progress_bar_config(disable=True)
    for part in plain.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()  # T5 drops out otherwise
    settings = {"num_inference_steps": 3, "guidance_scale": 4.0}
    if not IS_FLOW[family]:  # a flow model is drawn as it is by default
        kind, own = SCHEDULERS["pndm"]
        plain.scheduler = getattr(__import__("diffusers"), kind).from_config(plain.scheduler.config, **own)
    images = plain(
        prompt=ROW["prompt"],
        generator=torch.Generator().manual_seed(5),
        height=RESOLUTION,
        width=RESOLUTION,
        output_type="pt",
        **diffuser.call_options,
        **({} if IS_FLOW[family] else settings),
    ).images
    torch.testing.assert_close(image, images[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_half_precision_weights_are_drawn_with_the_autoencoder_in_float32(family: str) -> None:
    diffuser = model(family, torch.bfloat16)
    for name, part in diffuser.pipeline.components.items():
        if isinstance(part, torch.nn.Module) and name != "vae":
            part.to(torch.bfloat16)
    sampler, rows = fitted(PUBLISHED, [ROW], diffuser)
    (image,) = sample_rows(diffuser, sampler, rows)
    assert image.dtype == torch.float32 and image.isfinite().all() and image.std() > 0


def test_a_model_of_the_published_size_is_drawn_as_published() -> None:
    diffuser = model("sd")
    diffuser.resolution = 512
    assert fitted(PUBLISHED, [ROW], diffuser) == (
        Sampler(3, 2.0, name="pndm", size=512, generator="cpu"),
        [ROW],
    )


def test_worlds_own_sampler_is_never_changed() -> None:
    sampler = Sampler(16, 3.0)
    assert fitted(sampler, [ROW], model("flux")) == (sampler, [ROW])


def test_guidance_of_every_family_counts_from_1_where_it_is_off() -> None:
    ours = {family: fitted(PUBLISHED, [ROW], model(family))[0].guidance for family in ("sd3", "z-image")}
    assert ours == {"sd3": 7.0, "z-image": 6.0}  # their pipelines' own are 7 and 5, and Z-Image's is off at 0
    diffuser = model("z-image")
    sampler, (row,) = EvaluationOptions(every_task={"steps": 3, "guidance": 1.0}).applied(
        *fitted(PUBLISHED, [ROW], diffuser)
    )
    (image,) = sample_rows(diffuser, sampler, [row])
    plain: Any = FAMILIES["z-image"]()
    plain.set_progress_bar_config(disable=True)
    alone = plain(
        prompt=ROW["prompt"], generator=torch.Generator().manual_seed(5), height=RESOLUTION, width=RESOLUTION,
        num_inference_steps=3, guidance_scale=0.0, output_type="pt",
    ).images[0]  # fmt: skip
    torch.testing.assert_close(image, alone, atol=1e-5, rtol=0)


def test_a_distilled_flux2_is_drawn_as_published_without_guidance() -> None:
    diffuser = as_diffuser(tiny_flux2(distilled=True), resolution=RESOLUTION)
    sampler, _ = fitted(PUBLISHED, [ROW], diffuser)
    assert sampler.guidance == 1.0
    source = PipelineSource(diffuser)
    source.check_sampler(sampler)
    with pytest.raises(UserError, match="is distilled"):
        source.check_sampler(PUBLISHED)


def test_a_flow_model_has_no_other_schedulers() -> None:
    with pytest.raises(UserError, match="has one scheduler"):
        fitted(get_task("i2p-schedulers").sampler or PUBLISHED, [ROW], model("sd3"))


def test_the_pipelines_scheduler_is_put_back() -> None:
    diffuser: Any = as_diffuser(tiny_pipeline())
    diffuser.pipeline.set_progress_bar_config(disable=True)
    before = diffuser.pipeline.scheduler
    sampler, rows = fitted(PUBLISHED, [ROW], diffuser)
    sample_rows(diffuser, sampler, rows)
    assert diffuser.pipeline.scheduler is before
