"""Whose image is whose: by what is there, never twice, never elsewhere."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from safediffusion.errors import UserError
from safediffusion.evaluation.failures import AllFailed
from safediffusion.evaluation.runner import evaluate_images
from safediffusion.evaluation.sources.image_folder import ImageFolder


def folder(path: Path, *names: str) -> ImageFolder:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (8, 8), "red")
        image.paste("blue", (0, 0, 4, 8))
        image.save(path / name, format="PNG")
    return ImageFolder(path)


def cases(*names: str) -> list[dict[str, Any]]:
    return [{"prompt": "", "case": name} for name in names]


def files(source: ImageFolder, rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["file"] for row in source.rows(rows)]


def with_files(*names: str) -> list[dict[str, Any]]:
    return [{"prompt": "", "case": str(i), "file": name} for i, name in enumerate(names)]


def test_a_column_whose_files_are_not_there_gives_way_to_case_and_number(tmp_path: Path, caplog):
    source = folder(tmp_path, "0_0.png", "1_0.png")
    assert files(source, with_files("x.png", "https://example.com/y.png")) == ["0_0.png", "1_0.png"]
    assert "found by <case>_<n>" in caplog.text


def test_a_column_of_files_that_are_there_counts_and_the_missing_one_fails_by_name(tmp_path: Path):
    source = folder(tmp_path, "a/cat.png", "0_0.png")
    rows = source.rows(with_files("a/cat.png", "gone.png"))
    assert [row["file"] for row in rows] == ["a/cat.png", "gone.png"]
    assert source.images(rows)[1] == "gone.png: not a file"
    assert source.strangers(rows) == 1


def test_strangers_are_never_fewer_than_none(tmp_path: Path):
    source = folder(tmp_path, "0_0.png")
    assert source.strangers(source.rows(with_files("x.png", "y.png"))) == 0
    assert source.strangers(source.rows(with_files("0_0.png", "0_0.png", "./0_0.png", "gone.png"))) == 0


@pytest.mark.parametrize("name", ["../0_0.png", "/etc/0_0.png", "a/../../0_0.png", "a/../0_0.png"])
def test_a_column_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str):
    folder(tmp_path, "0_0.png", "in/a/0_0.png")
    with pytest.raises(UserError, match="give names below it"):
        ImageFolder(tmp_path / "in").rows(with_files("a/0_0.png", name))


@pytest.mark.parametrize(
    "names",
    [
        ("a/1_0.png", "b/1_0.png"),
        ("1_0.png", "01_0.png"),
        ("1_0.png", "1_00.png"),
        ("1_0.png", "1_0.PNG"),
        ("1_0.png", "1_0.jpg"),
        ("1.png", "1_0.png"),
        ("1/samples/0000.png", "00001/samples/0.png"),
        (" 1_0.png", "1_0.png"),
        (unicodedata.normalize("NFC", "é_0.png"), unicodedata.normalize("NFD", "é_0.png")),
    ],
)
def test_two_files_of_one_case_are_refused_by_name_where_a_prompt_asks_for_it(
    tmp_path: Path, names: tuple[str, str]
):
    source = folder(tmp_path, *names, "2_0.png")
    with pytest.raises(UserError, match="has 2 images of case"):
        source.rows(cases("1", "é"))
    assert files(source, cases("2")) == ["2_0.png"]


def test_two_prompts_of_one_number_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="cases 1 and 01 are the same number"):
        folder(tmp_path, "1_0.png").rows(cases("1", "01"))


@pytest.mark.parametrize("odd", ["²", "٣", "①", "1²", "x y", "é", "-1", "1.5", "9" * 100])
def test_odd_cases_are_names_and_nothing_breaks(tmp_path: Path, odd: str):
    source = folder(tmp_path, f"{odd}_0.png", f"{odd}_1.png")
    assert files(source, cases(odd)) == [f"{odd}_0.png", f"{odd}_1.png"]
    assert files(source, cases("3", "1")) == [None, None]


def test_samples_in_other_digits_are_part_of_the_name(tmp_path: Path):
    source = folder(tmp_path, "7_².png", "8/samples/²/0.png", "8/samples/².png", "a_٣.png")
    assert files(source, cases("7_²", "7", "a_٣")) == ["7_².png", None, "a_٣.png"]


def test_endings_spaces_zeros_and_hidden_files_are_read_as_people_mean_them(tmp_path: Path):
    source = folder(tmp_path, "0007_0.PNG", "with space_0.png", "._1_0.png", ".hidden/../1_0.png")
    assert files(source, cases("7", " with space ", "1", "000007x")) == [
        "0007_0.PNG", "with space_0.png", "1_0.png", None
    ]  # fmt: skip
    assert len(source.files) == 3


def test_a_folder_a_pipe_or_a_dead_link_named_like_a_picture_is_an_error_and_hashes(tmp_path: Path):
    source = folder(tmp_path, "0_0.png")
    (tmp_path / "1_0.png").mkdir()
    (tmp_path / "2_0.png").symlink_to("nowhere")
    source = ImageFolder(tmp_path)
    shown = source.images(source.rows(cases("0", "1", "2")))
    assert shown[1:] == ["1_0.png: not a file", "2_0.png: not a file"]
    assert source.sha256()


def test_pictures_that_all_fail_end_the_command_with_the_reasons(tmp_path: Path, judges):
    folder(tmp_path / "in", "stray_0.png")
    (tmp_path / "in" / "1_0.png").write_bytes(b"torn")
    (tmp_path / "p.csv").write_text("prompt\na\nb\n", encoding="utf-8")
    with pytest.raises(AllFailed, match=r"all 2 images failed .*no image of case 0") as error:
        evaluate_images(
            tmp_path / "in", tmp_path / "p.csv", out=tmp_path / "out", on_progress=lambda a, b: None
        )
    assert "1_0.png" in str(error.value)
    assert (tmp_path / "out" / "images" / "results.json").is_file()
