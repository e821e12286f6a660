"""ESD: its target, who samples, which weights learn, and that they do."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from safediffusion.baselines.concepts import SLD20, Concepts
from safediffusion.baselines.esd import ESD, Esd, Training, noise_weight, trains
from safediffusion.baselines.make import with_options
from safediffusion.diffusion.ddim import split_prediction
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import RunError, UserError
from tests.baselines.conftest import Fresh

METHODS = {method.name: method for method in ESD}
CONCEPTS = Concepts("some", ("a red square", "a person sunbathing"))


def method(name: str, **options: Any) -> Esd:
    changed = with_options(METHODS[name], {"steps": 5, "batch": 2} | options)
    assert isinstance(changed, Esd)
    return changed


def training(diffuser: Diffuser, name: str = "esd-x", **options: Any) -> Training:
    chosen = method(name, **options)
    return Training(diffuser, chosen, chosen.trained(diffuser))


def probe(diffuser: Diffuser) -> tuple[Tensor, Tensor, Any]:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(8, *diffuser.latent_shape, generator=random)
    return x, torch.arange(40, 1000, 120), diffuser.encode(CONCEPTS.phrases).repeat_interleave(4)


@pytest.mark.parametrize("family", ["sd", "sd-v"])
def test_the_loss_falls(fresh: Fresh, family: str) -> None:
    diffuser = fresh(family)
    one = training(diffuser, iterations=40, lr=1e-2, steps=2)
    before = float(one.loss(*probe(diffuser)))
    one.run(CONCEPTS.phrases)
    assert float(one.loss(*probe(diffuser))) < 0.5 * before


@pytest.mark.parametrize("family", ["sd", "sd-v"])
def test_the_loss_is_the_formula(fresh: Fresh, family: str) -> None:
    diffuser = fresh(family)
    frozen: Any = copy.deepcopy(diffuser.network)
    one = training(diffuser, erase_scale=1.5)
    with torch.no_grad():
        for p in one.trained:
            p += 0.1 * torch.randn_like(p)
        x, t, cond = probe(diffuser)
        got = one.loss(x, t, cond)
        empty = diffuser.encode([""]).tokens.expand(len(x), -1, -1)
        free, named = (frozen(x, t, states, return_dict=False)[0] for states in (empty, cond.tokens))
        own: Any = diffuser.network
        error = own(x, t, cond.tokens, return_dict=False)[0] - (free - 1.5 * (named - free))
        weight = noise_weight(diffuser, t).view(-1, 1, 1, 1)
    torch.testing.assert_close(got, (weight * error.square()).mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_weight_makes_an_error_of_the_output_one_of_the_noise(fresh: Fresh, prediction: Any) -> None:
    diffuser = fresh("sd", prediction=prediction)
    t = torch.tensor([3, 400, 900])
    process: Any = diffuser.process
    alpha = process.alphas[t].view(-1, 1, 1, 1)
    x, one, two = torch.randn(3, 3, 4, 8, 8).unbind(0)
    noise = [split_prediction(output, x, alpha, prediction)[1] for output in (one, two)]
    expected = noise_weight(diffuser, t).view(-1, 1, 1, 1) * (one - two).square()
    torch.testing.assert_close((noise[0] - noise[1]).square(), expected, rtol=1e-3, atol=1e-5)


def test_which_weights_each_form_trains(fresh: Fresh) -> None:
    diffuser = fresh()
    every = {name for name, _ in diffuser.network.named_parameters()}
    modules = dict(diffuser.network.named_modules())

    def chosen(part: Any, form: int) -> set[str]:
        return {name for name in every if trains(part, form, name, modules[name.rpartition(".")[0]])}

    cross = {name for name in every if ".attn2." in name}
    assert cross and chosen("x", 2025) == chosen("x", 2023) == cross
    strict = {name for name in cross if ".to_k." in name or ".to_v." in name}
    assert strict < cross and chosen("x-strict", 2025) == strict
    new, old = chosen("u", 2025), chosen("u", 2023)
    assert not (new | old) & cross
    norms = {name for name in every if "norm" in name}
    assert norms and not new & norms and old & norms == norms - {"conv_norm_out.weight", "conv_norm_out.bias"}
    ends = {name for name in every if name.startswith(("time_embedding.", "conv_out."))}
    assert ends < new and not ends & old
    assert any("time_emb_proj" in name for name in old)  # of a block, not the time embedding itself


@pytest.mark.parametrize(("name", "family"), [*((name, "sd") for name in METHODS), ("esd-x", "sdxl")])
def test_only_those_weights_change_and_a_seed_repeats_them(fresh: Fresh, name: str, family: str) -> None:
    one, two, other = fresh(family), fresh(family), fresh(family)
    before = {n: p.clone() for n, p in one.network.named_parameters()}
    for diffuser, seed in ((one, 1), (two, 1), (other, 2)):
        told = method(name, iterations=2, seed=seed, steps=2).apply(diffuser, CONCEPTS)
        assert told["seed"] == seed and told["sampled_concepts"] == 2
    own, again, else_ = (dict(d.network.named_parameters()) for d in (one, two, other))
    trained = {id(p) for p in METHODS[name].trained(one)}
    assert {n for n in own if not torch.equal(own[n], before[n])} == {
        n for n, p in own.items() if id(p) in trained
    }
    assert all(torch.equal(own[n], again[n]) for n in own)
    assert any(not torch.equal(own[n], else_[n]) for n in own)
    assert not any(p.requires_grad for p in own.values())


@pytest.mark.parametrize(("name", "frozen"), [("esd-x", True), ("esd-x-2023", False)])
def test_the_base_samples_in_2025_and_the_trained_network_in_2023(
    fresh: Fresh, name: str, frozen: bool
) -> None:
    diffuser = fresh()
    one = training(diffuser, name)
    cond = diffuser.encode(["a red square"])
    first = one.latents(cond, 3)
    with torch.no_grad():
        for p in one.trained:
            p += torch.randn_like(p)
    one.random.manual_seed(0)
    assert torch.equal(one.latents(cond, 3), first) == frozen


def test_latents_have_done_k_steps_of_guided_ddim(fresh: Fresh) -> None:
    diffuser = fresh()
    one = training(diffuser)
    cond = diffuser.encode(["a red square"])
    got = one.latents(cond, 2)
    x = torch.randn((2, *diffuser.latent_shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for i in range(2):
            t = one.schedule.timesteps[i].expand(2)
            x = one.schedule.step(diffuser.predict(x, t, cond.expand(2), 3.0), x, i, 0.0)[0]
    assert torch.equal(got, x)


def test_timesteps_of_a_step(fresh: Fresh) -> None:
    diffuser = fresh()
    exact, fine = training(diffuser, "esd-x", steps=50), training(diffuser, "esd-x-2023", steps=50)
    for k in (0, 17, 49):
        own = int(exact.schedule.timesteps[k])
        assert int(exact.timestep(k)) == own
        drawn = {int(fine.timestep(k)) for _ in range(400)}
        assert len(drawn) == 20 and max(drawn) - min(drawn) == 19 and own in drawn


def test_concepts_that_mention_minors_are_never_sampled(fresh: Fresh) -> None:
    assert method("esd-x", iterations=1).apply(fresh(), Concepts("sld20", SLD20))["sampled_concepts"] == 19
    with pytest.raises(UserError, match="never sampled"):
        method("esd-x").apply(fresh(), Concepts("one", ("child abuse",)))


def test_a_loss_that_is_not_finite_ends_the_training(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "loss", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(RunError, match="set lr lower"):
        method("esd-x").apply(fresh(), CONCEPTS)
