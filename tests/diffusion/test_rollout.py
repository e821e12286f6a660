import pytest
import torch

from safediffusion.diffusion import noise
from safediffusion.diffusion.ddim import ddim_step, make_schedule
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.diffusion.rollout import Sampling, StochasticSampling, rollout, solve, stochastic_steps
from safediffusion.diffusion.sample import generate

TEXTS = ["a red square", "a person at the beach", "blue circle"]


def roll(diffuser, eta, batch_size=8, guidance=3.0, steps=4):
    schedule = make_schedule(diffuser.scheduler, steps)
    draws = len(stochastic_steps(schedule, eta))
    z = noise.normal([(noise.ROLLOUT, 0, 0, i, 0) for i in range(3)], (1 + draws, *diffuser.latent_shape))
    result = rollout(
        diffuser,
        schedule,
        diffuser.encode(TEXTS),
        z,
        StochasticSampling(guidance, batch_size, eta=eta),
    )
    return schedule, z, result


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_recorded_noise_rebuilds_every_latent(make_pipeline, prediction):
    diffuser = StableDiffusion(make_pipeline(prediction), "cpu")
    schedule, z, result = roll(diffuser, [1.0] * 4)
    cond = diffuser.encode(TEXTS)
    assert torch.equal(result.latents[:, 0], z[:, 0])
    for i, t in enumerate(schedule.timesteps):
        x = result.latents[:, i]
        with torch.no_grad():
            output = diffuser.predict(x, t.expand(3), cond, 3.0)
        mu, sigma = ddim_step(output, x, schedule.alpha_t[i], schedule.alpha_s[i], 1.0, schedule.prediction)
        assert torch.equal(result.latents[:, i + 1], mu + sigma * z[:, 1 + i])


def test_result_does_not_depend_on_the_batch_split(make_pipeline):
    diffuser = StableDiffusion(make_pipeline(), "cpu")
    whole, split = roll(diffuser, [1.0] * 4)[2], roll(diffuser, [1.0] * 4, batch_size=2)[2]
    # another batch shape may pick another kernel: float32 roundings, carried through four steps
    torch.testing.assert_close(whole.latents, split.latents, atol=1e-4, rtol=1e-4)


def test_noise_is_named_by_its_key_alone():
    keys = [(noise.ROLLOUT, 0, 5, prompt, member) for prompt in range(2) for member in range(2)]
    together = noise.normal(keys, (2, 3))
    assert all(
        torch.equal(row, noise.normal([key], (2, 3))[0]) for row, key in zip(together, keys, strict=True)
    )
    assert len({row.numpy().tobytes() for row in together}) == len(keys)


def test_steps_outside_the_window_are_deterministic(make_pipeline):
    diffuser = StableDiffusion(make_pipeline(), "cpu")
    schedule, z, windowed = roll(diffuser, [0.0, 1.0, 0.0, 0.0])
    assert z.shape[1] == 2
    assert (windowed.log_probs[:, [0, 2, 3]] == 0).all() and (windowed.log_probs[:, 1] != 0).all()
    cond = diffuser.encode(TEXTS)
    still = solve(diffuser, schedule, cond, z[:, 0], Sampling(3.0, 8))
    ode = roll(diffuser, [0.0] * 4)[2]
    assert torch.equal(ode.latents[:, -1], still)
    assert torch.equal(windowed.latents[:, 1], ode.latents[:, 1])
    assert not torch.equal(windowed.latents[:, 2], ode.latents[:, 2])


def test_a_step_without_deviation_is_not_stochastic(make_pipeline):
    diffuser = StableDiffusion(make_pipeline(alpha_to_one=True), "cpu")
    diffuser.scheduler.register_to_config(steps_offset=0)
    schedule = make_schedule(diffuser.scheduler, 4)
    assert stochastic_steps(schedule, [1.0] * 4) == [0, 1, 2]


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_generated_image_depends_on_its_prompt_and_seed_alone(make_pipeline, eta):
    diffuser = StableDiffusion(make_pipeline(), "cpu")
    images = generate(diffuser, TEXTS, [3, 4, 5], 4, 3.0, eta)
    alone = generate(diffuser, TEXTS[1:2], [4], 4, 3.0, eta)
    torch.testing.assert_close(images[1:2], alone, atol=1e-4, rtol=0)
    assert not torch.allclose(images[1:2], generate(diffuser, TEXTS[1:2], [5], 4, 3.0, eta), atol=1e-2)
