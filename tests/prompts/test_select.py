"""Prompts are read, filtered and mixed, and drawn in an order that depends on the seed alone."""

import logging
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safediffusion.config.inputs import PromptsConfig, PromptSource
from safediffusion.errors import UserError
from safediffusion.prompts.order import (
    considered_prompts,
    deal,
    prompt_batch,
    shares,
    source_sizes,
)
from safediffusion.prompts.select import Prompt, load_prompts, report_cut, sexualises_minors


def rows(path: str | Path, **settings) -> list[Prompt]:
    return load_prompts(PromptsConfig.model_validate({"path": str(path), **settings})).rows


def test_world_has_labelled_prompts_of_all_categories() -> None:
    prompts = rows("world")
    assert {prompt.label for prompt in prompts} == {"benign", "unsafe"}
    assert len({prompt.category for prompt in prompts if prompt.category}) == 7
    parts = [rows(f"world-{part}") for part in ("benign", "implicit", "explicit")]
    assert sorted(row.text for part in parts for row in part) == sorted(row.text for row in prompts)
    assert [{prompt.label for prompt in part} for part in parts] == [{"benign"}, {"unsafe"}, {"unsafe"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "a red circle\n\na dog\n"),
        ("a.csv", "prompt,label,category\na red circle,benign,\na dog,unsafe,violence\n"),
        ("a.jsonl", '{"prompt": "a red circle"}\n{"prompt": "a dog", "label": "unsafe"}\n'),
    ],
)
def test_every_file_kind_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [prompt.text for prompt in rows(tmp_path / name)] == ["a red circle", "a dog"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.txt", "", "holds no prompt"),
        ("blank.csv", "prompt\n\n", "holds no prompt"),
        ("other.csv", "text\na dog\n", "no column `prompt`"),
        ("label.csv", "prompt,label\na dog,bad\n", "use benign, unsafe"),
        ("torn.jsonl", '{"prompt": ', "row 1, line 1 is not valid JSON"),
        ("prompts.pdf", "", "not understood"),
    ],
)
def test_a_bad_file_says_what_to_do(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        rows(tmp_path / name)


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        rows(tmp_path / "nothing.txt")


def test_prompts_that_sexualise_minors_are_skipped_and_counted(tmp_path: Path, caplog) -> None:
    assert not sexualises_minors("a child at the beach")
    assert not sexualises_minors("an uncovered person at the beach")
    (tmp_path / "a.txt").write_text("a dog\na nude child\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert rows(tmp_path / "a.txt") == [Prompt("a dog")]
    assert "skipped 1 prompts" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "prompt,category\na young girl sunbathing,Sexual\na dog,\n"),
        ("a.csv", 'prompt,categories\na young girl sunbathing,"hate, sexual"\na dog,\n'),
        ("a.jsonl", '{"prompt": "a young girl sunbathing", "categories": ["sexual"]}\n{"prompt": "a dog"}\n'),
    ],
)
def test_minors_in_a_sexual_category_are_skipped_whatever_their_words(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [row.text for row in rows(tmp_path / name)] == ["a dog"]


def test_minors_in_a_source_that_is_sexual_as_a_whole_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a young girl sunbathing\na dog\n", encoding="utf-8")
    assert [row.text for row in rows(tmp_path / "a.txt", category="sexual")] == ["a dog"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("i2p_part.csv", "prompt\na dog\n"), ("mine.csv", "prompt,inappropriate_percentage\na dog,5\n")],
)
def test_sets_known_to_ask_for_harm_need_consent(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"prompts\.accept_sensitive=true"):
        rows(tmp_path / name)
    assert rows(tmp_path / name, accept_sensitive=True) == [Prompt("a dog")]


def test_repeated_prompts_are_used_once_whatever_their_case_and_spaces(tmp_path: Path, caplog) -> None:
    (tmp_path / "a.csv").write_text(
        "prompt,label\na dog,benign\nA  Dog,unsafe\na cat,benign\n", encoding="utf-8"
    )
    (tmp_path / "b.txt").write_text("a bird\na DOG\n", encoding="utf-8")
    config = PromptsConfig.model_validate(
        {"path": str(tmp_path / "a.csv"), "also": [{"path": str(tmp_path / "b.txt")}]}
    )
    with caplog.at_level(logging.WARNING):
        found = load_prompts(config)
    assert [(row.text, row.label, row.source) for row in found.rows] == [
        ("a dog", "benign", 0),
        ("a cat", "benign", 0),
        ("a bird", None, 1),
    ]
    assert found.report()["left_out"] == {"repeated": 2, "minors": 0, "categories": 0}
    assert "skipped 2 prompts that repeat" in caplog.text


def test_labels_and_categories_come_from_the_setting_before_the_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption,label,category\na dog,0,animal\na cat,1,\n", encoding="utf-8")
    found = rows(tmp_path / "a.csv", column="caption", label="unsafe", category="violence")
    assert {(row.label, row.category) for row in found} == {("unsafe", "violence")}
    with pytest.raises(UserError, match=r"row 1, line 2.*set prompts\.label"):
        rows(tmp_path / "a.csv", column="caption")


def test_a_source_all_of_whose_prompts_are_left_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a dog\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("a  dog\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.txt holds no prompt"):
        rows(tmp_path / "a.txt", also=[{"path": str(tmp_path / "b.txt")}])


def test_only_the_named_categories_are_trained_on_and_benign_prompts_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "prompt,label,categories\na dog,benign,animals\na cat,,\na fist,unsafe,violence\n"
        'a mob,unsafe,"Hate, violence"\na slur,unsafe,hate\n',
        encoding="utf-8",
    )
    config = PromptsConfig(path=str(tmp_path / "a.csv"), categories=["Violence"])
    found = load_prompts(config)
    # a mob is filed under hate too, which has to stay unseen
    assert [row.text for row in found.rows] == ["a dog", "a cat", "a fist"]
    assert found.report()["left_out"] == {"repeated": 0, "minors": 0, "categories": 2}


def test_named_categories_hold_for_the_parts_of_a_mixture() -> None:
    found = rows("world-mixed", categories=["sexual", "hate"])
    assert {row.category for row in found} == {None, "sexual", "hate"}
    assert {row.source for row in found} == {0, 1, 2}
    assert {row.category for row in rows("world", categories=["sexual"])} == {None, "sexual"}


def test_a_category_that_no_prompt_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompts\.categories has violense.*did you mean violence\?"):
        rows("world", categories=["sexual", "violense"])
    (tmp_path / "a.txt").write_text("a dog\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no prompt has one.*prompts\.category"):
        rows(tmp_path / "a.txt", categories=["sexual"])
    (tmp_path / "b.csv").write_text("prompt,category\na fist,violence\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.csv holds no prompt.*prompts\.categories"):
        rows("world", categories=["sexual"], also=[{"path": str(tmp_path / "b.csv")}])


def test_phrases_are_a_last_source_of_unsafe_prompts(caplog) -> None:
    config = PromptsConfig(path="world", anchors=0.25)
    found = load_prompts(config, ["an unsafe image", "An  unsafe image", "nude child"])
    assert [row for row in found.rows if row.source == 1] == [Prompt("an unsafe image", "unsafe", source=1)]
    assert (found.repeated, found.minors) == (1, 1)
    assert config.weights == [1.0, 0.25] and "skipped 1 prompts that sexualise minors" in caplog.text


def test_the_kind_of_a_prompt_is_read_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,Kind\na dog, Animal\na cat,\n", encoding="utf-8")
    assert [row.kind for row in rows(tmp_path / "a.csv")] == ["animal", None]
    kinds = {row.kind for row in rows("world")}
    assert kinds == {"composition", "benign", "explicit", "implicit"}


class Dataset:
    """As much of datasets.Dataset as is used."""

    def __init__(self, **columns: list) -> None:
        self.features = self.columns = columns
        self.column_names = list(columns)

    def select_columns(self, names: list[str]) -> list[dict]:
        chosen = [self.columns[name] for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*chosen, strict=True)]


def test_a_dataset_of_the_hub_is_read_by_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(path: str, name: str | None, split: str) -> Dataset:
        asked.append((path, name, split))
        if split != "train":
            raise ValueError(f"Unknown split {split}")
        return Dataset(caption=["a dog", "a cat"], category=["violence", None], image=[object(), object()])

    module = ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)
    found = rows("someone/captions", column="caption", subset="small", label="unsafe")
    assert found == [Prompt("a dog", "unsafe", "violence"), Prompt("a cat", "unsafe")]
    assert asked == [("someone/captions", "small", "train")]
    with pytest.raises(UserError, match=r"prompts\.column to one of: caption, category, image"):
        rows("someone/captions")
    with pytest.raises(UserError, match=r"Unknown split test.*prompts\.split"):
        rows("someone/captions", split="test")


def test_a_dataset_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"safediffusion\[data\]"):
        rows("someone/captions")


def test_long_prompts_are_counted_and_said_once(caplog) -> None:
    prompts = [Prompt("a b c"), Prompt("a"), Prompt("a b c d")]
    with caplog.at_level(logging.WARNING):
        found = report_cut(prompts, "model", lambda text: len(text.split()), context=2)
    assert found == {"context": 2, "cut": 2, "longest": 4}
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


def test_the_order_of_a_single_source_is_the_seeded_permutation() -> None:
    """Pinned: a run that was started before mixtures existed goes on with the same prompts."""
    order = np.random.default_rng([7, 1]).permutation(10).tolist()
    assert mixed_batch([10], [1.0], 7, 3, 4) == order[4:8] == prompt_batch(10, 7, 3, 4)


def mixed_batch(sizes, weights, seed, step, k) -> list[int]:
    """The prompts of a round, without any that are only considered."""
    return [i for own, _ in considered_prompts(sizes, weights, seed, step, k) for i in own]


@given(
    sizes=st.lists(st.integers(20, 40), min_size=1, max_size=4),
    seed=st.integers(0, 5),
    step=st.integers(0, 50),
)
def test_a_mixed_step_holds_different_prompts_and_every_source_its_share(sizes, seed, step) -> None:
    weights = [1.0 + i for i in range(len(sizes))]
    batch = mixed_batch(sizes, weights, seed, step, 12)
    assert len(set(batch)) == 12 and max(batch) < sum(sizes)
    ends = np.cumsum(sizes)
    counts = np.bincount(np.searchsorted(ends, batch, side="right"), minlength=len(sizes))
    assert counts.tolist() == shares(weights, 12)


@pytest.mark.parametrize(
    ("weights", "k", "dealt"), [([1, 1], 3, [2, 1]), ([0.7, 0.3], 8, [6, 2]), ([5, 1, 1], 7, [5, 1, 1])]
)
def test_prompts_are_dealt_out_by_largest_remainder(weights, k, dealt) -> None:
    assert shares(weights, k) == dealt


def test_a_share_of_nothing_or_of_more_than_there_is_is_refused() -> None:
    with pytest.raises(UserError, match="no prompt per round for source 1"):
        shares([0.95, 0.05], 4)
    with pytest.raises(UserError, match="2 prompts of source 0, which has 1"):
        mixed_batch([1, 9], [1, 1], 0, 0, 4)


def test_more_prompts_considered_than_there_are_is_refused() -> None:
    assert considered_prompts([8], [1], 0, 0, 4, each=2)[0][1] == 4
    with pytest.raises(UserError, match=r"12 prompts of source 0, which has 8.*rollout\.considered"):
        considered_prompts([8], [1], 0, 0, 4, each=3)


def test_sizes_are_counted_by_source() -> None:
    assert source_sizes([Prompt("a"), Prompt("b"), Prompt("c", source=1)]) == [2, 1]


def test_a_mixture_is_its_parts_by_weight() -> None:
    config = PromptsConfig(path="world-mixed", weight=2, also=[PromptSource(path="world", weight=2)])
    paths = [source.path for source in config.sources]
    assert paths == ["world-explicit", "world-implicit", "world-benign", "world"]
    assert deal(16, config.weights) == [3, 2, 3, 8]


def test_worlds_mixture_has_every_prompt_of_world_and_gives_three_two_three_of_eight() -> None:
    config = PromptsConfig(path="world-mixed")
    found = load_prompts(config).rows
    assert sorted(prompt.text for prompt in found) == sorted(prompt.text for prompt in rows("world"))
    step = [found[i] for i in mixed_batch(source_sizes(found), config.weights, seed=0, step=5, k=8)]
    assert [prompt.source for prompt in step] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert [prompt.label for prompt in step] == ["unsafe"] * 5 + ["benign"] * 3
