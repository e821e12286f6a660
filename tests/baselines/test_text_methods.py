"""Methods that change text states: SAFREE and Semantic Surgery, against their formulas written out."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.baselines import safree
from safediffusion.baselines.negative import NEGATIVE
from safediffusion.baselines.safree import (
    KEPT,
    SAFREE,
    ChangedTexts,
    is_early,
    is_trigger,
    span,
    steps_changed,
)
from safediffusion.baselines.surgery_text import SURGERY_TEXT, presence
from safediffusion.baselines.text_states import changing_text, text_lengths
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import as_diffuser
from safediffusion.evaluation.sampler import Sampler, sample_rows
from tests.baselines.samplers import PROMPTS, ours, theirs, tiny
from tests.pipelines import RESOLUTION, tiny_pipeline

CONCEPTS = ("sunbathing", "red")
LONG = "a person at the beach"


def tokens(diffuser: Diffuser, texts: tuple[str, ...]) -> Tensor:
    padded = diffuser.pipeline.tokenizer(
        list(texts), padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )
    return padded.input_ids


def test_a_text_s_length_is_without_start_end_and_padding() -> None:
    diffuser = tiny()
    texts = ("", "a", LONG, " ".join(30 * ["a"]))
    assert text_lengths(diffuser, tokens(diffuser, texts)) == [0, 1, 5, 10]


def test_texts_that_a_change_encodes_itself_stay() -> None:
    diffuser = tiny()
    plain = diffuser.encode([LONG]).tokens
    with changing_text(diffuser, lambda ids, output: diffuser.encode_text([LONG]).tokens + 1):
        torch.testing.assert_close(diffuser.encode(["red"]).tokens, plain + 1)
    assert torch.equal(diffuser.encode([LONG]).tokens, plain)


def test_surgery_subtracts_the_concepts_that_a_text_holds() -> None:
    diffuser = tiny()
    method = replace(SURGERY_TEXT, beta=-0.3, gamma=0.1)
    text = "a red square"
    c, empty = diffuser.encode([text, ""]).tokens
    alpha = []
    for concept in CONCEPTS:
        d = diffuser.encode([concept]).tokens[0] - empty
        cosines = [float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(d, c, strict=True)]
        alpha.append(1 / (1 + math.exp(-(sum(cosines) / len(cosines) - 0.3) / 0.1)))
    on = [concept for concept, value in zip(CONCEPTS, alpha, strict=True) if value >= 0.5]
    open_gate = replace(method, beta=1.0)
    assert len(on) < len(CONCEPTS), alpha
    with method.acting(diffuser, CONCEPTS):
        found = diffuser.encode([text]).tokens[0]
    joined = diffuser.encode([", ".join(on)]).tokens[0] if on else empty
    torch.testing.assert_close(found, c - max(alpha) * (joined - empty) if on else c)
    with open_gate.acting(diffuser, CONCEPTS):
        found, still_empty = diffuser.encode([text, ""]).tokens
    joined = diffuser.encode([", ".join(CONCEPTS)]).tokens[0]
    directions = diffuser.encode(CONCEPTS).tokens - empty
    most = presence(c, directions, 1.0, 0.1).max()
    torch.testing.assert_close(found, c - most * (joined - empty))
    torch.testing.assert_close(still_empty, empty)


def test_presence_follows_from_the_mean_cosine() -> None:
    states = torch.eye(3)[:2]
    same, opposite = states, -states
    alpha = presence(states, torch.stack([same, opposite]), -0.06, 0.02)
    torch.testing.assert_close(alpha, torch.tensor([1.0, 0.0]))
    at_gate = presence(states, torch.stack([0 * same]), 0.0, 0.02)
    assert at_gate.item() == 0.5


def test_a_span_is_the_projection_p_of_the_paper() -> None:
    rows = torch.randn(3, 8, dtype=torch.float64)
    c = rows.T
    torch.testing.assert_close(span(rows), c @ torch.linalg.inv(c.T @ c) @ c.T)
    twice = torch.cat([rows, rows[:1] * (1 + 1e-12)])  # nearly dependent phrases span no more
    torch.testing.assert_close(span(twice), span(rows), atol=1e-9, rtol=0)


def test_a_trigger_is_a_token_without_which_the_rest_is_far_from_the_concepts() -> None:
    away = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
    left_out = torch.tensor([[9.0, 1.0], [9.0, 1.0], [9.0, 1.03]])
    assert is_trigger(left_out, away, 0.01).tolist() == [False, False, True]
    assert is_trigger(left_out, away, 0.04).tolist() == [False, False, False]


@pytest.mark.parametrize(("change", "steps"), [(0.0, 0), (0.5333, 5), (0.6, 10), (1.0, 10)])
def test_more_change_is_used_for_more_steps(change: float, steps: int) -> None:
    assert steps_changed(change) == steps


def test_safree_projects_the_triggers_of_a_text_and_nothing_else() -> None:
    diffuser = tiny()
    encoder, ids = diffuser.pipeline.text_encoder, tokens(diffuser, (LONG, *CONCEPTS))
    plain = diffuser.encode([LONG, "a", ""]).tokens
    concept = encoder(ids[1:]).pooler_output.double()
    away = torch.eye(16, dtype=torch.float64) - span(concept)
    distances, pooled = [], []
    for i in range(1, 6):
        masked = ids[:1].clone()
        masked[0, i] = 0
        pooled.append(encoder(masked).pooler_output[0].double())
        distances.append(float((away @ pooled[-1]).norm()))
    q = span(torch.stack(pooled))
    triggers = [i for i, own in enumerate(distances) if own >= 1.01 * (sum(distances) - own) / 4]
    assert 0 < len(triggers) < 5, distances
    with SAFREE.acting(diffuser, CONCEPTS):
        found = diffuser.encode([LONG, "a", ""]).tokens
    for i in range(12):
        expected = plain[0, i]
        if i - 1 in triggers:
            expected = (away @ q @ plain[0, i].double()).float()
        torch.testing.assert_close(found[0, i], expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(found[1:], plain[1:])  # one token has no others, and the empty text has none


@pytest.mark.parametrize("k", range(11))
def test_the_first_step_and_k_of_fifty_are_early(k: int) -> None:
    assert [i for i in range(50) if is_early(i, 50, k)] == list(range(k + 1))
    assert [i for i in range(100) if is_early(i, 100, k)] == list(range(2 * k + 1))


def test_changed_states_give_way_to_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps up to k of 50 see the changed states: none with k = -1, all with k = 50."""
    diffuser = tiny()
    steps, paths = 25, {}
    with NEGATIVE.acting(diffuser, CONCEPTS):
        paths["negative"] = ours(diffuser, [LONG], steps)
    for k in (-1, 0, 1, 4, 50):
        monkeypatch.setattr(safree, "steps_changed", lambda change, k=k: k)
        with SAFREE.acting(diffuser, CONCEPTS):
            paths[k] = ours(diffuser, [LONG], steps)
            if k == 4:
                torch.testing.assert_close(theirs(diffuser, [LONG], steps), paths[k], atol=1e-5, rtol=0)
    assert torch.equal(paths[-1], paths["negative"])  # its own part never acts
    assert torch.equal(paths[0], paths[1])  # of 25 steps, each is two of 50
    apart = [float((paths[k] - paths["negative"]).abs().max()) for k in (0, 4, 50)]
    assert apart[0] > 0 and not torch.equal(paths[0], paths[4]) and not torch.equal(paths[4], paths[50])


def test_changed_texts_are_found_by_content_and_forgotten_in_turn() -> None:
    texts = ChangedTexts()
    states = [torch.full((2, 3), float(i)) for i in range(KEPT + 1)]
    for i, one in enumerate(states):
        texts.add(one, -one, i)
    assert texts.find(states[0]) is None and texts.find(torch.randn(2, 3)) is None
    original, steps = texts.find(states[-1].double()) or (None, None)
    assert steps == KEPT and original is not None and torch.equal(original, -states[-1])


def test_safree_holds_for_many_prompts_of_different_length() -> None:
    diffuser = tiny()
    prompts = [*PROMPTS, "a", LONG]
    with SAFREE.acting(diffuser, CONCEPTS):
        together = ours(diffuser, prompts)
        for i, prompt in enumerate(prompts[3:], 3):
            assert together[i].isfinite().all(), prompt


def test_changed_texts_are_found_again_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    diffuser = as_diffuser(tiny_pipeline(), dtype=torch.bfloat16, resolution=RESOLUTION)
    diffuser.pipeline.set_progress_bar_config(disable=True)
    for part in (diffuser.pipeline.unet, diffuser.pipeline.text_encoder):
        part.to(torch.bfloat16)
    images = {}
    for k in (-1, 50):
        monkeypatch.setattr(safree, "steps_changed", lambda change, k=k: k)
        with SAFREE.acting(diffuser, CONCEPTS):
            for sampler in (Sampler(3, 3.0), Sampler(3, 3.0, name="pndm", size=RESOLUTION, generator="cpu")):
                images[k, sampler.name] = sample_rows(diffuser, sampler, [{"prompt": LONG, "seed": 5}])[0]
    assert not torch.equal(images[-1, "ddim"], images[50, "ddim"])
    assert not torch.equal(images[-1, "pndm"], images[50, "pndm"])
