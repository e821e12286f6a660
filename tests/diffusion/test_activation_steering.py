"""Activation steering: its mathematics, its hooks, and the vectors of a tiny network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from safediffusion.diffusion import noise
from safediffusion.diffusion.activation_steering import (
    ActivationSteering,
    Sampler,
    SteeringVectors,
    cross_attention,
    steering_vectors,
    watching,
)
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import as_diffuser
from safediffusion.diffusion.reflection import reflected, turned_away, unit_difference
from safediffusion.diffusion.rollout import Sampling, solve
from safediffusion.errors import UserError
from tests.pipelines import FAMILIES, RESOLUTION

PAIRS = {
    "sun": [("a person sunbathing", "a person"), ("sunbathing at the beach", "at the beach")],
    "red": [("a red square", "a square")],
}
SAMPLING = Sampling(guidance=3.0, batch_size=2)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tiny(family: str = "sd") -> Diffuser:
    return as_diffuser(FAMILIES[family](), resolution=RESOLUTION)


def vectors_of(diffuser: Diffuser, steps: int = 2, sampling: Sampling = SAMPLING) -> SteeringVectors:
    return steering_vectors(diffuser, diffuser.process.schedule(steps), PAIRS, sampling, seed=0)


def sampler_of(diffuser: Diffuser, steps: int = 2, sampling: Sampling = SAMPLING) -> Sampler:
    return Sampler.of(diffuser, diffuser.process.schedule(steps), sampling)


def sample(diffuser: Diffuser, text: str = "a person sunbathing") -> Tensor:
    start = noise.normal([(noise.SAMPLE, 7)], diffuser.latent_shape)
    return solve(diffuser, diffuser.process.schedule(2), diffuser.encode([text]), start, SAMPLING)


def test_strength_two_mirrors_and_keeps_the_norm_by_itself():
    h, s = features(3, 5, 8), unit_difference(features(8), torch.zeros(8))
    mirrored = reflected(h, s, 2.0)
    towards = h @ s > 0
    assert towards.any() and not towards.all()
    torch.testing.assert_close(mirrored.norm(dim=-1), h.norm(dim=-1))
    torch.testing.assert_close((mirrored @ s)[towards], -(h @ s)[towards])
    assert torch.equal(mirrored[~towards], h[~towards])


def test_strength_one_removes_the_concept():
    h, s = features(3, 5, 8), unit_difference(features(8), torch.zeros(8))
    assert (reflected(h, s, 1.0) @ s).max() < 1e-6


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0, 3.0])
def test_norms_stay_at_any_strength_with_several_concepts(strength):
    h, concepts = features(3, 5, 8), unit_difference(features(2, 8), torch.zeros(2, 8))
    turned = turned_away(h, concepts.unbind(), strength)
    torch.testing.assert_close(turned.norm(dim=-1), h.norm(dim=-1))
    assert not torch.allclose(turned, h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_orthogonal_concept_changes_no_bit(dtype):
    h, s = features(3, 5, 8), torch.eye(8)[2]
    h[..., 2] = 0
    h = h.to(dtype)
    assert torch.equal(turned_away(h, [s, -s], 2.0), h)


def test_concepts_act_one_after_the_other():
    h, (a, b) = features(4, 8), unit_difference(features(2, 8), torch.zeros(2, 8)).unbind()
    assert abs(a @ b) > 0.1
    torch.testing.assert_close(turned_away(h, [a, b], 2.0), reflected(reflected(h, a, 2.0), b, 2.0))


def test_equal_features_have_no_direction():
    assert unit_difference(torch.ones(4), torch.ones(4)).tolist() == [0] * 4
    assert torch.equal(turned_away(torch.zeros(2, 4), [torch.eye(4)[0]], 2.0), torch.zeros(2, 4))


@pytest.mark.parametrize("family", ["sd", "sd-v", "sdxl"])
def test_vectors_are_the_normed_mean_differences_of_two_steps(family):
    diffuser = tiny(family)
    vectors = vectors_of(diffuser)
    assert (
        vectors.concepts == ("sun", "red")
        and vectors.layers.keys() == cross_attention(diffuser.network).keys()
    )
    seen: dict[tuple[str, int], list[Tensor]] = {}
    means = []
    for texts in zip(*PAIRS["sun"], strict=True):
        seen.clear()
        for pair, text in enumerate(texts):
            start = noise.normal([(noise.STEERING, 0, 0, pair)], diffuser.latent_shape)
            schedule = diffuser.process.schedule(2)
            with watching(
                diffuser, schedule.timesteps.tolist(), lambda *it: seen.setdefault(it[:2], []).append(it[2])
            ):
                solve(diffuser, schedule, diffuser.encode([text]), start, SAMPLING)
        # the second row of a call is the conditional half
        means.append({at: torch.stack([h[1].mean(0) for h in found]).mean(0) for at, found in seen.items()})
    for (layer, step), unsafe in means[0].items():
        found = vectors.layers[layer][step, 0]
        difference = unsafe - means[1][layer, step]
        torch.testing.assert_close(found, difference / difference.norm(), atol=1e-4, rtol=0)
    assert not any(torch.allclose(*v[:, 0], atol=1e-4, rtol=0) for v in vectors.layers.values())


def test_vectors_follow_from_the_seed():
    diffuser = tiny()
    first, again = vectors_of(diffuser), vectors_of(tiny())
    other = steering_vectors(diffuser, diffuser.process.schedule(2), PAIRS, SAMPLING, seed=1)
    assert all(torch.equal(v, again.layers[name]) for name, v in first.layers.items())
    assert not any(torch.equal(v, other.layers[name]) for name, v in first.layers.items())


def test_strength_0_is_the_model_bit_for_bit_and_strength_2_is_not():
    diffuser = tiny()
    vectors, sampler = vectors_of(diffuser), sampler_of(diffuser)
    base = sample(diffuser)
    with ActivationSteering(vectors, 0.0).acting(diffuser, sampler):
        assert torch.equal(sample(diffuser), base)
    with ActivationSteering(vectors, 2.0).acting(diffuser, sampler):
        assert not torch.allclose(sample(diffuser), base, atol=1e-4)
    assert torch.equal(sample(diffuser), base)  # the hooks are gone


def test_a_step_is_steered_by_its_own_vectors_in_both_halves():
    diffuser = tiny()
    made = vectors_of(diffuser)
    first = next(iter(made.layers))

    def first_output() -> Tensor:
        """Of the first layer at the first step: nothing before it is steered."""
        seen: list[Tensor] = []
        with watching(diffuser, made.sampler.timesteps, lambda *it: seen.append(it[2])):
            sample(diffuser)
        return seen[0]

    base = first_output()
    with ActivationSteering(made, 2.0).acting(diffuser, made.sampler):
        steered = first_output()
    torch.testing.assert_close(steered, turned_away(base, made.layers[first][0].unbind(), 2.0))
    assert len(base) == 2 and not any(torch.allclose(a, b) for a, b in zip(base, steered, strict=True))


def test_rows_of_a_fixed_number_per_call_do_not_mix_the_halves():
    plain, fixed = tiny(), tiny()
    fixed.call_rows = 3
    a, b = vectors_of(plain), vectors_of(fixed)
    assert all(torch.equal(v, b.layers[name]) for name, v in a.layers.items()) and fixed.call_rows == 3


@pytest.mark.parametrize(
    ("change", "name"),
    [({"guidance": 2.0}, "guidance"), ({"solver": "dpm++"}, "solver"), ({"steps": 3}, "steps, timesteps")],
)
def test_vectors_refuse_another_sampler(change, name):
    diffuser = tiny()
    vectors = vectors_of(diffuser)
    steps = change.pop("steps", 2)
    other = sampler_of(diffuser, steps, replace(SAMPLING, **change))
    with (
        pytest.raises(UserError, match=f"other {name};"),
        ActivationSteering(vectors, 2.0).acting(diffuser, other),
    ):
        pass


def test_vectors_refuse_another_scheduler_and_an_unknown_timestep():
    diffuser, other = tiny(), tiny("sd-v")
    vectors = vectors_of(diffuser)
    with pytest.raises(UserError, match="scheduler"):
        vectors.refuse_other(sampler_of(other))
    with (
        ActivationSteering(vectors, 2.0).acting(diffuser, vectors.sampler),
        pytest.raises(UserError, match="no steering vectors"),
    ):
        diffuser.predict(
            torch.zeros(1, *diffuser.latent_shape), torch.tensor([3]), diffuser.encode(["a"]), 1.0
        )


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_a_network_without_cross_attention_is_refused_by_name(family):
    with pytest.raises(UserError, match=r"(SD3|Flux)Transformer2DModel has none.*rollout.steered=0"):
        vectors_of(tiny(family))
