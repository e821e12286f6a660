import pytest
import torch
from diffusers import DDIMScheduler
from torch.distributions import Normal, kl_divergence

from safediffusion.diffusion.ddim import Ddim, add_noise, ddim_step, make_schedule, split_prediction
from safediffusion.diffusion.gaussian import gaussian_kl, log_prob
from safediffusion.errors import UserError

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def scheduler(prediction: str = "epsilon", **changes) -> DDIMScheduler:
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction,
    }
    return DDIMScheduler(**settings | changes)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("changes", [{}, {"set_alpha_to_one": True, "steps_offset": 0}])
def test_mean_and_sigma_equal_diffusers(prediction, eta, changes):
    theirs = scheduler(prediction, **changes)
    schedule = make_schedule(theirs, 10)
    torch.manual_seed(0)
    x, output, noise = torch.randn(3, 2, 4, 8, 8).unbind(0)
    for i, t in enumerate(schedule.timesteps):
        mu, sigma = ddim_step(output, x, schedule.alpha_t[i], schedule.alpha_s[i], eta, schedule.prediction)
        mean = theirs.step(output, int(t), x, eta=eta, variance_noise=torch.zeros_like(x)).prev_sample
        moved = theirs.step(output, int(t), x, eta=eta, variance_noise=noise).prev_sample
        # latents are of order 10 here: a few float32 roundings of that
        torch.testing.assert_close(mu, mean, atol=5e-6, rtol=1e-6)
        torch.testing.assert_close(mu + sigma * noise, moved, atol=5e-6, rtol=1e-6)


def test_density_and_kl_equal_torch_distributions():
    torch.manual_seed(0)
    x, mu, other = torch.randn(3, 4, 4, 8, 8).unbind(0)
    sigma = torch.tensor([0.02, 0.1, 0.5, 1.0]).view(-1, 1, 1, 1)
    mu, other = x + sigma * mu, x + sigma * other
    torch.testing.assert_close(log_prob(x, mu, sigma), Normal(mu, sigma).log_prob(x).mean((1, 2, 3)))
    exact = kl_divergence(Normal(mu, sigma), Normal(other, sigma)).mean((1, 2, 3))
    torch.testing.assert_close(gaussian_kl(mu, other, sigma), exact)


def test_forward_process_equals_diffusers():
    theirs = scheduler()
    x, noise, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999])
    ours = add_noise(x, noise, theirs.alphas_cumprod[t].view(-1, 1, 1, 1))
    torch.testing.assert_close(ours, theirs.add_noise(x, noise, t))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    x, alpha = torch.zeros(1, 4, 2, 2), torch.tensor(0.5)
    with pytest.raises(TypeError, match="float32"):
        ddim_step(x.to(dtype), x, alpha, alpha + 0.1, 1.0)
    with pytest.raises(TypeError, match="float32"):
        log_prob(x.to(dtype), x, alpha)
    with pytest.raises(TypeError, match="float32"):
        gaussian_kl(x, x.to(dtype), alpha)


def test_v_from_pure_noise_is_learned_like_any_other():
    """A schedule with zero terminal signal (Lin et al., 2024), on which noise itself says nothing."""
    process = Ddim(scheduler("v_prediction", rescale_betas_zero_snr=True), "cpu")
    assert process.alphas[-1] == 0
    torch.manual_seed(0)
    x0, noise, output = torch.randn(3, 2, 4, 8, 8).unbind(0)
    level = torch.tensor([400, 999])
    x = process.add_noise(x0, noise, level)
    v = process.target(x0, noise, level)
    torch.testing.assert_close(v[1], -x0[1])
    error = process.weight(level) * (process.predicted(output, x, level) - v).square().flatten(1).mean(1)
    assert error.isfinite().all() and (error > 0).all()
    alpha = process.alphas[400]
    eps = split_prediction(output, x, alpha, "v_prediction")[1]
    torch.testing.assert_close(error[0], (eps - noise)[0].square().mean() / alpha)


def test_a_step_from_pure_noise_has_a_mean():
    x, output = torch.randn(2, 1, 4, 8, 8).unbind(0)
    mu, sigma = ddim_step(output, x, torch.tensor(0.0), torch.tensor(0.005), 1.0, "v_prediction")
    assert mu.isfinite().all() and sigma.isfinite()


def test_more_steps_than_the_scheduler_has_are_refused():
    with pytest.raises(UserError, match=r"rollout\.steps"):
        make_schedule(scheduler(), 1001)
