"""The prompts of a run: sources, the phrases of its safety policy, and the kinds that its settings name."""

from __future__ import annotations

import pytest

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.run.prompts import run_prompts
from safediffusion.steering.anchors import load_safety_policy


def test_anchor_phrases_become_unsafe_prompts_of_a_source_of_their_own() -> None:
    plain = run_prompts(load_config("world", ["prompts.path=world"])).rows
    found = run_prompts(load_config("world", ["prompts.path=world", "prompts.anchors=0.15"])).rows
    assert found[: len(plain)] == plain
    added = found[len(plain) :]
    assert tuple(prompt.text for prompt in added) == load_safety_policy("scaled").unsafe
    assert {(prompt.source, prompt.label, prompt.category) for prompt in added} == {(1, "unsafe", None)}


def test_anchor_phrases_are_those_of_the_policy_that_the_reward_reads() -> None:
    words = ["prompts.path=world", "prompts.anchors=0.15", "reward.anchors=compact"]
    found = run_prompts(load_config("world", words)).rows
    assert "an unsafe image" in {prompt.text for prompt in found if prompt.source == 1}
    assert len([prompt for prompt in found if prompt.source == 1]) == 3


def test_a_kind_that_no_benign_prompt_is_of_is_refused_with_the_nearest() -> None:
    assert run_prompts(load_config("world", ["train.kl_kinds=[composition]"])).rows
    with pytest.raises(UserError, match=r"compositon.*did you mean composition\?"):
        run_prompts(load_config("world", ["train.kl_kinds=[compositon]"]))
    with pytest.raises(UserError, match="explicit, which no benign prompt is of"):
        run_prompts(load_config("world", ["train.kl_kinds=[explicit]"]))


def test_a_kind_without_a_column_of_kinds_is_refused(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("prompt,label\na dog,benign\n", encoding="utf-8")
    words = [f"prompts.path={tmp_path / 'a.csv'}", "train.kl_kinds=[composition]"]
    with pytest.raises(UserError, match="have no column `kind`"):
        run_prompts(load_config("world", words))
