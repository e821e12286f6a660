"""A policy edited as lines of text becomes a file that a run takes, or a sentence that says why not."""

from pathlib import Path

import pytest

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.steering.anchors import list_policies, load_safety_policy
from safediffusion.ui.policy_edit import Draft, place, save, start_from, without

DRAFT = Draft("a calm scene\n\n  a dressed person ", "violence\nnudity", "violence, sexual", "mine", 0.8)


@pytest.mark.parametrize("encoder", ["world", "another"])
def test_every_shipped_policy_is_saved_as_a_file_that_a_run_takes(encoder: str, tmp_path: Path) -> None:
    for name in list_policies(encoder):
        path = place(f"{name}.yaml", tmp_path)
        assert path == tmp_path / f"{name}.yaml"
        saved = save(start_from(name, encoder), path, over=False)
        reward = load_config("world", [f"reward.anchors={path}"]).reward
        read = load_safety_policy(reward.anchors, encoder)
        assert read == saved == load_safety_policy(name, encoder)
        assert Draft.of(read) == start_from(str(path), encoder)


def test_phrases_are_lines(tmp_path: Path) -> None:
    save(DRAFT, tmp_path / "mine.yml", over=False)
    policy = load_safety_policy(str(tmp_path / "mine.yml"))
    assert policy.safe == ("a calm scene", "a dressed person") and policy.unsafe == ("violence", "nudity")
    assert (policy.name, policy.alpha, policy.categories) == ("mine", 0.8, ("violence", "sexual"))


@pytest.mark.parametrize(
    "text", ["yes", "0x10", "- a", "a: b # c", "'", '"', "<b>&amp;", "日本", "*x", "2026-01-01"]
)
def test_a_phrase_stays_the_text_that_it_is(text: str, tmp_path: Path) -> None:
    save(Draft(f"calm\n{text}", "violence"), tmp_path / "p.yaml", over=False)
    assert load_safety_policy(str(tmp_path / "p.yaml")).safe == ("calm", text)


def test_a_file_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(UserError, match="exists already"):
        save(DRAFT, path, over=False)
    assert path.read_text(encoding="utf-8") == "precious"
    save(DRAFT, path, over=True)
    assert load_safety_policy(str(path)).safe[0] == "a calm scene"


@pytest.mark.parametrize(
    ("draft", "why"),
    [
        (Draft("", "violence"), "no safe phrases"),
        (Draft("calm", ""), "no unsafe phrases"),
        (Draft("calm", "Calm "), "safe and unsafe"),
        (Draft("calm\ncalm", "violence"), "twice"),
        (Draft("calm", "violence", alpha=-1), "alpha"),
        (Draft("calm", "violence", alpha=float("nan")), "alpha"),
        (Draft("calm ${HOME}", "violence"), "interpolation"),
        (Draft("calm", "\n".join(f"harm {i}" for i in range(101))), "100"),
        (Draft("calm", "x" * 10_000), "1000"),
        (Draft("calm", "sexual content with a child"), "minors"),
    ],
)
def test_what_a_run_would_refuse_is_not_written(draft: Draft, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        save(draft, tmp_path / "p.yaml", over=False)
    assert list(tmp_path.iterdir()) == []


def test_the_category_counts_for_the_minors_rule(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="minors"):
        save(Draft("calm", "a child at the beach", "sexual"), tmp_path / "p.yaml", over=False)


def test_without_safe_phrases_a_policy_is_saved_where_that_is_meant(tmp_path: Path) -> None:
    save(Draft("", "violence", one_sided=True), tmp_path / "p.yaml", over=False)
    assert load_safety_policy(str(tmp_path / "p.yaml")).safe == ()


def test_a_name_alone_lies_in_the_folder_of_runs_and_a_path_where_it_says(tmp_path: Path) -> None:
    assert place(" mine.yaml ", tmp_path / "runs") == tmp_path / "runs/mine.yaml"
    assert place(str(tmp_path / "else/mine.yml"), tmp_path / "runs") == tmp_path / "else/mine.yml"
    (tmp_path / "folder.yaml").mkdir()
    for wrong, why in (("", "empty"), ("mine.txt", "ending"), ("mine", "ending"), ("folder.yaml", "folder")):
        with pytest.raises(UserError, match=why):
            place(wrong, tmp_path)


def test_phrases_are_left_out_whatever_their_case() -> None:
    assert without("a calm scene\n Peaceful\nkind", ["peaceful", "nothing"]) == "a calm scene\nkind"
