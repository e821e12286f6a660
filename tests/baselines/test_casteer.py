"""CASteer as a suffix: its pairs of prompts, its vectors, and what it does to features."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from safediffusion import load_model
from safediffusion.baselines import casteer
from safediffusion.baselines.casteer import ADULTS, CASTEER, CONTEXTS, Steering, concept_pairs
from safediffusion.baselines.concepts import read_concepts
from safediffusion.baselines.method import reads_world
from safediffusion.diffusion.activation_steering import cross_attention
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.world.wordings import PLACES
from tests.baselines.samplers import GUIDANCE, ours, theirs, tiny

HARMS = ("nudity", "i2p11", "words", "phrases")


@pytest.mark.parametrize("name", HARMS)
@pytest.mark.parametrize("world", [False, True])
def test_pairs_pass_the_minors_rule_with_every_category(name: str, world: bool) -> None:
    pairs = concept_pairs(read_concepts(name).phrases, world)
    texts = [text for found in pairs.values() for pair in found for text in pair]
    assert list(pairs) == list(read_concepts(name).phrases)
    assert not any(sexualises_minors(text, ("sexual",)) for text in texts)
    assert len(texts) == 2 * len(pairs) * (len(PLACES) if world else 154)


def test_the_people_and_places_of_the_pairs_are_adults_alone() -> None:
    assert len(ADULTS) * len(CONTEXTS) == 154
    assert not any(sexualises_minors(f"{who} {where}", ("sexual",)) for who in ADULTS for where in CONTEXTS)
    assert sexualises_minors("a girl at home", ("sexual",))  # as in the published list


def test_a_concept_that_mentions_minors_is_never_sampled() -> None:
    with pytest.raises(UserError, match="'child abuse' mentions minors; such prompts are never sampled"):
        concept_pairs(read_concepts("sld20").phrases, world=False)


def test_world_is_known_by_its_text_encoder() -> None:
    assert reads_world(load_model("world")) and not reads_world(tiny())


@contextmanager
def outputs(diffuser: Diffuser) -> Iterator[list[Tensor]]:
    """Inside, outputs of cross-attention are noted; hooks see what those that were put before them made."""
    seen: list[Tensor] = []

    def note(module: Any, inputs: Any, output: Tensor) -> None:
        seen.append(output)

    with ExitStack() as stack:
        for layer in cross_attention(diffuser.network).values():
            stack.callback(layer.register_forward_hook(note).remove)
        yield seen


@pytest.mark.usefixtures("few_pairs")
def test_strength_two_mirrors_features_in_both_halves_and_keeps_their_norms() -> None:
    diffuser = tiny("sdxl")
    with outputs(diffuser) as before, CASTEER.acting(diffuser, ("red",)), outputs(diffuser) as after:
        ours(diffuser, steps=2)  # learns
        before.clear()
        after.clear()
        ours(diffuser, steps=2)
    layers = len(cross_attention(diffuser.network))
    assert len(before) == len(after) == 2 * layers
    for unsteered, steered in zip(before, after, strict=True):
        torch.testing.assert_close(steered.norm(dim=-1), unsteered.norm(dim=-1), atol=1e-6, rtol=1e-5)
    assert (after[0] - before[0]).abs().amax((1, 2)).min() > 1e-3  # in all rows


@pytest.mark.usefixtures("few_pairs")
def test_strength_0_is_the_model() -> None:
    diffuser = tiny()
    bare = ours(diffuser)
    with replace(CASTEER, strength=0.0).acting(diffuser, ("red",)):
        torch.testing.assert_close(ours(diffuser), bare, atol=1e-6, rtol=0)


@pytest.mark.usefixtures("few_pairs")
def test_vectors_are_learnt_once_for_each_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[tuple[int, float]] = []
    plain = casteer.steering_vectors

    def counted(diffuser: Any, schedule: Any, pairs: Any, sampling: Any, seed: int) -> Any:
        learnt.append((len(schedule), sampling.guidance))
        return plain(diffuser, schedule, pairs, sampling, seed)

    monkeypatch.setattr(casteer, "steering_vectors", counted)
    diffuser = tiny()
    with CASTEER.acting(diffuser, ("red",)):
        for steps in (2, 3, 2):
            ours(diffuser, steps=steps)
        theirs(diffuser, steps=3)
        theirs(diffuser, steps=3, guidance_scale=2.0)
    assert learnt == [(2, GUIDANCE), (3, GUIDANCE), (3, 2.0)]


@pytest.mark.usefixtures("few_pairs")
def test_vectors_do_not_depend_on_the_latents_that_are_being_sampled() -> None:
    diffuser = tiny()
    steering = Steering(diffuser, concept_pairs(("sunbathing",), world=False), 2.0)
    alone = steering.vectors(2, GUIDANCE)
    with CASTEER.acting(diffuser, ("sunbathing",)):
        steered = ours(diffuser, steps=2)
    again = Steering(diffuser, concept_pairs(("sunbathing",), world=False), 2.0).vectors(2, GUIDANCE)
    assert all(torch.equal(v, again.layers[name]) for name, v in alone.layers.items())
    assert not torch.allclose(steered, ours(diffuser, steps=2), atol=1e-4)
