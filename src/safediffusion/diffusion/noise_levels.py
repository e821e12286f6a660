"""The noise levels of a diffusion model from whatever scheduler its folder names."""

from typing import Any, get_args

from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from safediffusion.diffusion.ddim import Prediction
from safediffusion.errors import UserError


def ddim_scheduler(scheduler: Any) -> DDIMScheduler:
    """DDIM with the betas, the prediction and the spacing of a model's own scheduler.

    PNDM, Euler, DPM++ and the like are ways to solve the same process, so only their noise levels are taken.
    Clipping x0 belongs to pixel models; a schedule that does not mention it would clip by default.

    Raises:
        UserError: the scheduler is of another process, or its settings contradict each other.
    """
    config, name = scheduler.config, type(scheduler).__name__
    prediction = config.get("prediction_type", "epsilon")
    if "beta_schedule" not in config or config.get("use_flow_sigmas"):
        raise _refused(name, "whose noise levels do not come from betas")
    if prediction not in get_args(Prediction):
        raise _refused(name, f"of a network that predicts {prediction}")
    if prediction == "epsilon" and config.get("rescale_betas_zero_snr"):
        raise _refused(
            name,
            "with zero terminal SNR and a network that predicts noise, which pure noise leaves undefined",
        )
    try:
        made: Any = DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)
    except (NotImplementedError, ValueError) as error:
        raise _refused(name, f"with settings that DDIM does not have ({error})") from error
    return made


def _refused(name: str, why: str) -> UserError:
    return UserError(
        f"the model's scheduler is a {name} {why}; a Stable Diffusion model is trained as DDIM. Correct its "
        "scheduler/scheduler_config.json (prediction_type, beta_schedule, rescale_betas_zero_snr), or set "
        "another model"
    )
