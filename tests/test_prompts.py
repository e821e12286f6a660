"""Prompts are read from World or a file, filtered, and drawn in an order that depends on the seed alone."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safediffusion.errors import UserError
from safediffusion.prompts import Prompt, load_prompts, prompt_batch, sexualises_minors, warn_long


def test_world_has_labelled_prompts_of_all_categories() -> None:
    prompts = load_prompts("world")
    assert {prompt.label for prompt in prompts} == {"benign", "unsafe"}
    assert len({prompt.category for prompt in prompts if prompt.category}) == 7
    assert {prompt.category for prompt in load_prompts("world-nudity")} == {None, "sexual"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "a red circle\n\na dog\n"),
        ("a.csv", "prompt,label,category\na red circle,benign,\na dog,unsafe,violence\n"),
        ("a.jsonl", '{"prompt": "a red circle"}\n{"prompt": "a dog", "label": "unsafe"}\n'),
    ],
)
def test_every_file_kind_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert [prompt.text for prompt in load_prompts(tmp_path / name)] == ["a red circle", "a dog"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.txt", "", "holds no prompt"),
        ("blank.csv", "prompt\n\n", "holds no prompt"),
        ("other.csv", "text\na dog\n", "no column `prompt`"),
        ("label.csv", "prompt,label\na dog,bad\n", "use benign, unsafe"),
        ("torn.jsonl", '{"prompt": ', "no valid jsonl"),
        ("prompts.pdf", "", "not understood"),
    ],
)
def test_a_bad_file_says_what_to_do(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_prompts(tmp_path / name)


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_prompts(tmp_path / "nothing.txt")


def test_prompts_that_sexualise_minors_are_skipped_and_counted(tmp_path: Path, caplog) -> None:
    assert not sexualises_minors("a child at the beach")
    assert not sexualises_minors("an uncovered person at the beach")
    (tmp_path / "a.txt").write_text("a dog\na nude child\n")
    with caplog.at_level(logging.WARNING):
        assert load_prompts(tmp_path / "a.txt") == [Prompt("a dog")]
    assert "skipped 1 prompts" in caplog.text


def test_long_prompts_are_counted_once(caplog) -> None:
    prompts = [Prompt("a b c"), Prompt("a"), Prompt("a b c d")]
    with caplog.at_level(logging.WARNING):
        assert warn_long(prompts, lambda text: len(text.split()), context=2) == 2
    assert len(caplog.records) == 1


@given(n=st.integers(1, 60), seed=st.integers(0, 5), data=st.data())
def test_a_pass_uses_no_prompt_twice(n: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    steps = range(n // k)
    drawn = [i for step in steps for i in prompt_batch(n, seed, step, k)]
    assert len(drawn) == len(set(drawn)) == (n // k) * k


def test_order_depends_on_seed_and_pass() -> None:
    assert prompt_batch(50, 0, 0, 50) != prompt_batch(50, 1, 0, 50)
    assert prompt_batch(50, 0, 0, 50) != prompt_batch(50, 0, 1, 50)
    assert prompt_batch(50, 0, 7, 5) == prompt_batch(50, 0, 7, 5)


def test_more_prompts_a_step_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"set rollout\.prompts=3"):
        prompt_batch(3, 0, 0, 4)
