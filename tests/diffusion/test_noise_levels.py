"""The noise levels that a model's own scheduler gives, whichever solver it is."""

from typing import Any

import diffusers
import pytest
import torch

from safediffusion.diffusion.noise_levels import ddim_scheduler
from safediffusion.errors import UserError
from tests.pipelines import NOISE

BETAS = {key: NOISE[key] for key in ("beta_start", "beta_end", "beta_schedule")}


SOLVERS = [
    "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "HeunDiscreteScheduler", "DDPMScheduler",
    "LCMScheduler",
]  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_every_solver_gives_the_same_noise_levels(name: str, prediction: str) -> None:
    made = ddim_scheduler(getattr(diffusers, name)(**BETAS, prediction_type=prediction))
    wanted = diffusers.DDIMScheduler(**BETAS).alphas_cumprod
    assert torch.equal(made.alphas_cumprod, wanted)
    assert made.config["prediction_type"] == prediction
    assert not made.config["clip_sample"] and not made.config["thresholding"]


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_zero_terminal_snr_and_spacing_are_kept(name: str) -> None:
    given = {
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    }
    made = ddim_scheduler(getattr(diffusers, name)(**BETAS, **given))
    assert made.alphas_cumprod[-1] < 1e-6
    made.set_timesteps(4)
    assert made.timesteps[0] == 999


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "edm": (diffusers.EDMEulerScheduler, {}, "do not come from betas"),
    "flow matching": (diffusers.FlowMatchEulerDiscreteScheduler, {}, "do not come from betas"),
    "flow sigmas": (
        diffusers.DPMSolverMultistepScheduler,
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        "do not come from betas",
    ),
    "flow prediction": (
        diffusers.UniPCMultistepScheduler,
        {"prediction_type": "flow_prediction"},
        "predicts flow_prediction",
    ),
    "noise from pure noise": (
        diffusers.EulerDiscreteScheduler,
        {"rescale_betas_zero_snr": True},
        "which pure noise leaves undefined",
    ),
    "other betas": (
        diffusers.DDPMScheduler,
        {"beta_schedule": "sigmoid"},
        "settings that DDIM does not have",
    ),
}


@pytest.mark.parametrize(("kind", "settings", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_scheduler_of_another_process_is_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ddim_scheduler(kind(**settings))
    assert "\n" not in str(caught.value)
