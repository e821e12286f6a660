"""A damaged prompt file ends every command that reads one with exit code 2 and the row's number."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def unquoted(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,label\na dog,benign\na person, sitting, outside,unsafe\n", encoding="utf-8")
    return path


def test_commands_refuse_an_unquoted_comma_by_row(command: Command, unquoted: Path, tmp_path: Path) -> None:
    for words in (
        ("train", "world", f"prompts.path={unquoted}", "--dry-run"),
        ("train", "world", f"prompts.path={unquoted}", "--out", tmp_path / "run"),
        ("evaluate", "world", "--tasks", "clip", "--prompts", unquoted),
        ("anchors", "check", "compact", "--prompts", unquoted),
    ):
        done = command(*words)
        assert done.returncode == 2
        assert "mine.csv, row 2, line 3: 4 fields" in done.stderr.replace("\n", " ")
    assert not (tmp_path / "run").exists() and not (tmp_path / "results").exists()


def test_evaluate_takes_the_name_of_the_prompts_column(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("caption\na dog\n", encoding="utf-8")
    done = command("evaluate", "world", "--tasks", "clip", "--prompts", "mine.csv", "--column", "text")
    assert (done.returncode, "lacks the column text" in done.stderr) == (2, True)
    done = command("evaluate", "world", "--tasks", "clip", "--prompts", "mine.csv", "--column", "caption")
    assert "lacks the column" not in done.stderr


def test_sample_refuses_a_seed_that_no_generator_takes(command: Command, tmp_path: Path) -> None:
    done = command("sample", "world", "a dog", "--seed", 10**23)
    assert (done.returncode, "from 0 to" in done.stderr) == (2, True)
    assert not (tmp_path / "sample.png").exists()
