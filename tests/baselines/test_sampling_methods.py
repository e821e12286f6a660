"""Methods that act while sampling: in both samplers, in every family they are for, and gone when they end."""

from dataclasses import replace

import diffusers
import pytest
import torch

from safediffusion.baselines.casteer import CASTEER
from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.negative import NEGATIVE
from safediffusion.baselines.network_calls import Call, changing_calls
from safediffusion.baselines.sampling import SAMPLING, attach
from safediffusion.baselines.sld import SLD
from safediffusion.baselines.surgery_text import SURGERY_TEXT
from safediffusion.errors import UserError
from safediffusion.evaluation.sampler import SCHEDULERS
from tests.baselines.samplers import GUIDANCE, ours, theirs, tiny
from tests.pipelines import FAMILIES

pytestmark = pytest.mark.usefixtures("few_pairs")
CONCEPTS = ("sunbathing", "red")
# The gate of surgery-text belongs to one encoder; this one opens it for the tiny ones.
METHODS = {**SAMPLING, "surgery-text": replace(SURGERY_TEXT, beta=1.0)}
DEFINED = [
    (name, family)
    for name, method in METHODS.items()
    for family in ("sd", "sd-v", "sdxl")
    if method.defined_for(tiny(family))
]


@pytest.mark.parametrize(("name", "family"), DEFINED)
def test_both_samplers_obey_alike_and_the_model_is_as_before_when_it_ends(name: str, family: str) -> None:
    diffuser = tiny(family)
    bare, bare_theirs = ours(diffuser), theirs(diffuser)
    torch.testing.assert_close(bare, bare_theirs, atol=1e-5, rtol=0)
    with METHODS[name].acting(diffuser, CONCEPTS):
        changed = ours(diffuser)
        torch.testing.assert_close(theirs(diffuser), changed, atol=1e-5, rtol=0)
        assert torch.equal(ours(diffuser), changed)  # nothing is left over from one trajectory to the next
    assert (changed - bare).abs().max() > 1e-3
    assert torch.equal(ours(diffuser), bare) and torch.equal(theirs(diffuser), bare_theirs)


@pytest.mark.parametrize("name", METHODS)
def test_a_prompt_is_sampled_alike_alone_and_among_others(name: str) -> None:
    diffuser = tiny()
    with METHODS[name].acting(diffuser, CONCEPTS):
        together, alone = ours(diffuser), ours(diffuser, ["a person sunbathing at the beach"])
    # SLD multiplies differences by up to 5000 before it limits them, and with them the rounding of a batch
    torch.testing.assert_close(together[:1], alone, atol=1e-4 if "sld" in name else 1e-5, rtol=0)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_negative_is_the_pipeline_s_own_negative_prompt(family: str) -> None:
    diffuser, text = tiny(family), ", ".join(CONCEPTS)
    plain = theirs(diffuser, negative_prompt=[text, text])
    with NEGATIVE.acting(diffuser, CONCEPTS):
        torch.testing.assert_close(theirs(diffuser), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", [NEGATIVE, SLD[2], SAMPLING["safree"]], ids=lambda m: m.name)
def test_what_needs_guidance_says_so(method: SamplingMethod) -> None:
    diffuser = tiny()
    with method.acting(diffuser, CONCEPTS):
        for sample in (lambda: ours(diffuser, guidance=1.0), lambda: theirs(diffuser, guidance_scale=1.0)):
            with pytest.raises(UserError, match=f"{method.name} acts through .* is 1; set it above 1"):
                sample()


def test_casteer_acts_without_guidance() -> None:
    diffuser = tiny()
    bare = ours(diffuser, guidance=1.0)
    with CASTEER.acting(diffuser, CONCEPTS):
        changed = ours(diffuser, guidance=1.0)
        torch.testing.assert_close(theirs(diffuser, guidance_scale=1.0), changed, atol=1e-5, rtol=0)
    assert (changed - bare).abs().max() > 1e-3


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"sd", "sd-v", "sdxl"}))
@pytest.mark.parametrize("name", METHODS)
def test_a_family_that_a_method_is_not_for_is_refused_by_name(name: str, family: str) -> None:
    diffuser = tiny(family)
    kind = type(diffuser).__name__
    with pytest.raises(UserError, match=f"{name} is not defined for {kind}; it is for StableDiffusion"):
        attach(diffuser, METHODS[name])


@pytest.mark.parametrize("name", ["surgery-text", "safree"])
def test_methods_of_one_text_encoder_refuse_two(name: str) -> None:
    with pytest.raises(UserError, match=r"not defined for StableDiffusionXL; it is for StableDiffusion$"):
        attach(tiny("sdxl"), METHODS[name])


@pytest.mark.parametrize("name", ["ddim", "pndm", "heun", "euler", "dpm++"])
@pytest.mark.parametrize("steps", [1, 3])
def test_calls_count_from_the_first_timestep_whatever_the_scheduler(name: str, steps: int) -> None:
    diffuser = tiny()
    kind, settings = SCHEDULERS[name]
    scheduler = getattr(diffusers, kind).from_config(diffuser.pipeline.scheduler.config, **settings)
    diffuser.pipeline.scheduler = scheduler
    seen: list[Call] = []

    def act(call: Call) -> torch.Tensor:
        seen.append(call)
        return call.run(call.latents, call.cond)

    with changing_calls(diffuser, act):
        theirs(diffuser, steps=steps)
        theirs(diffuser, steps=steps)
    count = len(scheduler.timesteps)
    assert [call.index for call in seen] == 2 * list(range(count))
    assert {call.guidance for call in seen} == {GUIDANCE}
