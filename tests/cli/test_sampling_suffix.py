"""MODEL+METHOD on the command line: taken where a model samples, refused where weights are meant."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Path:
    (tmp_path / "tiny").symlink_to(tiny_model)
    return tmp_path


def test_sample_takes_a_suffix_on_both_sides(command: Command, place: Path) -> None:
    done = command(
        "sample", "tiny+negative", "a red square", "--compare", "tiny+sld-max", "--out", "both.png"
    )
    assert done.returncode == 0, done.stderr
    assert (place / "both.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sample", "tiny+negativ", "a red square"), "did you mean negative?"),
        (("sample", "tiny", "a red square", "--compare", "tiny+sld"), "did you mean sld-"),
        (("evaluate", "tiny+negativ", "--tasks", "world-i2p"), "did you mean negative?"),
        (("evaluate", "tiny+sld", "--baseline", "tiny"), "did you mean sld-"),
        (("evaluate", "tiny", "--baseline", "tiny+casteer:nudty", "--limit", "1"), "did you mean nudity?"),
        (("train", "world", "model.path=tiny+negative"), "cannot be trained; give tiny"),
        (("train", "world", "model.path=tiny+negative", "--dry-run"), "cannot be trained; give tiny"),
        (("relapse", "tiny+negative", "--captions", "world"), "cannot be fine-tuned; give tiny"),
        (("relapse", "tiny", "--captions", "world", "--base", "tiny+negativ"), "did you mean negative?"),
        (("evaluate", "tiny+negative", "--strength", "0.5"), "evaluated at a strength; give tiny"),
        (("export", "tiny+negative"), "cannot be exported; give tiny"),
    ],
)
def test_other_uses_are_refused_in_one_line(
    command: Command, place: Path, words: tuple[str, ...], message: str
) -> None:
    done = command(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.strip().count("\n") == 0
    assert [path.name for path in place.iterdir()] == ["tiny"]
