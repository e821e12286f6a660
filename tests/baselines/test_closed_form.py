"""UCE, RECE and the text map against their formulas, computed layer by layer without shortcuts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from safediffusion.baselines.closed_form import (
    edit_map,
    fold,
    key_and_value_layers,
    last_tokens,
    text_states,
)
from safediffusion.baselines.concepts import Concepts
from safediffusion.baselines.make import with_options
from safediffusion.baselines.method import WeightMethod
from safediffusion.baselines.rece import RECE
from safediffusion.baselines.text_map import TEXT_MAP
from safediffusion.baselines.uce import UCE, UCE_2023, aligned, last_words
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from tests.baselines.conftest import Fresh

PHRASES = ("a red square", "a person sunbathing")


def some(phrases: tuple[str, ...] = PHRASES, twins: tuple[str, ...] = ()) -> Concepts:
    return Concepts("some", phrases, twins)


def weights(diffuser: Diffuser) -> list[Tensor]:
    return [layer.weight.detach().clone().double() for layer in key_and_value_layers(diffuser)]


def after(method: WeightMethod, diffuser: Diffuser, concepts: Concepts, **options: Any) -> list[Tensor]:
    with_options(method, options).apply(diffuser, concepts)
    return weights(diffuser)


def direct(
    w: Tensor, moved: list[tuple[Tensor, Tensor]], kept: list[Tensor], sizes: Mapping[str, float]
) -> Tensor:
    """UCE's equation, one outer product after the other."""
    left, right = sizes["ridge"] * w, sizes["ridge"] * torch.eye(w.shape[1], dtype=torch.float64)
    for c, g in moved:
        left = left + sizes["erase"] * torch.outer(w @ g, c)
        right = right + sizes["erase"] * torch.outer(c, c)
    for p in kept:
        left = left + sizes["preserve"] * torch.outer(w @ p, p)
        right = right + sizes["preserve"] * torch.outer(p, p)
    return left @ torch.linalg.inv(right)


def test_one_map_for_all_layers_is_uce_s_equation() -> None:
    old, new, kept = (torch.randn(n, 6, dtype=torch.float64) for n in (4, 4, 3))
    change = edit_map(old, new, kept, 0.5, 0.7, 0.3)
    w = torch.randn(5, 6, dtype=torch.float64)
    pairs = list(zip(old, new, strict=True))
    expected = direct(w, pairs, list(kept), {"ridge": 0.5, "erase": 0.7, "preserve": 0.3})
    torch.testing.assert_close(w @ change, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["sd", "sd-v", "sdxl"])
def test_uce_edits_the_last_word_of_each_text(fresh: Fresh, family: str) -> None:
    diffuser = fresh(family)
    before = weights(diffuser)
    states = text_states(diffuser, [*PHRASES, "", "a blue circle"])
    ends = last_tokens(diffuser, [*PHRASES, "", "a blue circle"])
    c, d, guide, kept = (states[i, ends[i]] for i in range(4))
    options = {"preserve": "a blue circle,", "preserve_scale": 0.2}
    with pytest.raises(UserError, match="empty name"):
        after(UCE, diffuser, some(), **options)
    found = after(UCE, diffuser, some(), **options | {"preserve": "a blue circle"})
    sizes = {"ridge": 0.5, "erase": 1.0, "preserve": 0.2}
    for w, got in zip(before, found, strict=True):
        expected = direct(w, [(c, guide), (d, guide)], [kept], sizes)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
        assert (got - w).abs().max() > 1e-3


def test_uce_2023_edits_all_states_from_the_last_word_on_and_keeps_the_empty_text(fresh: Fresh) -> None:
    diffuser = fresh()
    before = weights(diffuser)
    concept, twin, empty = text_states(diffuser, ["a red square", "a person", ""])
    a, b = last_tokens(diffuser, ["a red square", "a person"])
    moved = [(concept[a + i], twin[b + i]) for i in range(len(concept) - a)]
    found = after(UCE_2023, diffuser, some(("a red square",), ("a person",)))
    sizes = {"ridge": 0.5, "erase": 1.0, "preserve": 1.0}
    for w, got in zip(before, found, strict=True):
        torch.testing.assert_close(got, direct(w, moved, list(empty), sizes), rtol=0, atol=1e-6)


def test_many_kept_texts_count_a_tenth_each_in_uce_2023(fresh: Fresh, tmp_path: Any) -> None:
    file = tmp_path / "kept.txt"
    file.write_text("\n".join(f"a red {i}" for i in range(20)), encoding="utf-8")
    usual = after(UCE_2023, fresh(), some(), preserve=str(file))
    told = after(UCE_2023, fresh(), some(), preserve=str(file), preserve_scale=0.1)
    assert all(map(torch.equal, usual, told))


@pytest.mark.parametrize("method", [UCE, UCE_2023])
def test_a_concept_that_is_its_own_guide_changes_nothing(fresh: Fresh, method: WeightMethod) -> None:
    diffuser = fresh()
    before = weights(diffuser)
    as_guide = after(method, diffuser, some(("a person",)), guide="a person")
    as_twins = after(method, diffuser, some(PHRASES, PHRASES))
    for w, one, two in zip(before, as_guide, as_twins, strict=True):
        torch.testing.assert_close(one, w, rtol=0, atol=1e-6)
        torch.testing.assert_close(two, w, rtol=0, atol=1e-6)


def test_last_words(fresh: Fresh) -> None:
    diffuser = fresh()
    assert last_words(diffuser, ["a red square", "nudity"]) == ["square", "y"]
    assert last_tokens(diffuser, ["", " ", "a", "a red square", "square " * 30]) == [0, 0, 1, 3, 10]


def test_rows_are_aligned_at_the_last_words() -> None:
    states = torch.arange(6.0).view(6, 1)
    old, new = aligned(states, states, 3, 1)
    assert old.flatten().tolist() == [3, 4, 5] and new.flatten().tolist() == [1, 2, 3]
    old, new = aligned(states, states, 0, 2)
    assert old.flatten().tolist() == [0, 1, 2, 3] and new.flatten().tolist() == [2, 3, 4, 5]


def test_rece_without_epochs_is_uce_2023(fresh: Fresh) -> None:
    assert all(map(torch.equal, after(RECE, fresh(), some(), epochs=0), after(UCE_2023, fresh(), some())))


def test_rece_edits_what_the_edited_layers_answer_like_the_base(fresh: Fresh) -> None:
    diffuser = fresh()
    base = weights(diffuser)
    states, blank = text_states(diffuser, PHRASES), text_states(diffuser, [" "])[0]
    current = after(UCE_2023, fresh(), some())
    for _ in range(2):
        left = 0.1 * torch.eye(states.shape[-1], dtype=torch.float64) + sum(v.T @ v for v in current)
        right = sum(v.T @ w for v, w in zip(current, base, strict=True))
        found = [torch.linalg.inv(left) @ right @ c for c in states.flatten(0, 1)]
        moved = list(zip(found, [*blank, *blank], strict=True))
        sizes = {"ridge": 0.1, "erase": 1.0, "preserve": 0.1}
        current = [direct(v, moved, [*blank, *blank], sizes) for v in current]
    for got, expected in zip(after(RECE, diffuser, some(), epochs=2), current, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)


def test_rece_does_three_epochs_for_one_concept_and_two_for_several(fresh: Fresh) -> None:
    assert RECE.apply(fresh(), some(("nudity",)))["epochs"] == 3
    assert RECE.apply(fresh(), some())["epochs"] == 2


def test_a_text_map_is_its_formula_and_acts_on_the_text_alone(fresh: Fresh) -> None:
    diffuser, plain = fresh(), fresh()
    twins = ("a blue square", "a person")
    u, s, b = (text_states(diffuser, texts).flatten(0, 1) for texts in (PHRASES, twins, ["a red circle"]))
    shared = 2.0 * b.T @ b + 0.5 * torch.eye(u.shape[1], dtype=torch.float64)
    a = (s.T @ u + shared) @ torch.linalg.inv(u.T @ u + shared)
    made = with_options(TEXT_MAP, {"preserve": "a red circle", "preserve_scale": 2.0})
    made.apply(diffuser, some(PHRASES, twins))
    cond = plain.encode(PHRASES)
    mapped = Condition((cond.tokens.double() @ a.T).float())
    x, t = torch.randn(2, *plain.latent_shape), torch.tensor([500, 20])
    with torch.no_grad():
        got, before = diffuser.predict(x, t, cond, 1.0), plain.predict(x, t, cond, 1.0)
        expected = plain.predict(x, t, mapped, 1.0)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert (before - expected).abs().max() > 1e-3


def test_a_text_map_keeps_plain_captions_in_the_language_of_the_concepts(fresh: Fresh) -> None:
    assert TEXT_MAP.apply(fresh(), some())["preserved"] == "everyday"
    assert TEXT_MAP.apply(fresh(), replace(some(), world=True))["preserved"] == "benign"


@pytest.mark.parametrize("method", [UCE, UCE_2023, RECE, TEXT_MAP])
def test_closed_forms_change_keys_and_values_of_cross_attention_alone(
    fresh: Fresh, method: WeightMethod
) -> None:
    diffuser = fresh()
    before = {name: p.clone() for name, p in diffuser.network.named_parameters()}
    method.apply(diffuser, some())
    changed = {n for n, p in diffuser.network.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if n.endswith((".attn2.to_k.weight", ".attn2.to_v.weight"))}


def test_cross_attention_with_a_bias_is_refused(fresh: Fresh) -> None:
    diffuser = fresh()
    key_and_value_layers(diffuser)[0].bias = nn.Parameter(torch.zeros(16))
    with pytest.raises(UserError, match="bias"):
        UCE.apply(diffuser, some())


def test_a_text_that_sexualises_minors_is_never_encoded(fresh: Fresh) -> None:
    diffuser = fresh()
    before = weights(diffuser)
    with pytest.raises(UserError, match="minors"):
        after(UCE, diffuser, some(("a person",)), guide="an undressed child")
    assert all(map(torch.equal, before, weights(diffuser)))


def test_weights_are_rounded_once() -> None:
    layer = nn.Linear(3, 2, bias=False)
    w, change = layer.weight.detach().double(), torch.randn(3, 3, dtype=torch.float64)
    fold([layer], change)
    assert torch.equal(layer.weight, (w @ change).float())
