"""What is read is whole, of the expected shape and as it was written; else a line says which file and why."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safediffusion.errors import Damaged
from safediffusion.files.atomic import write_tensors, write_text
from safediffusion.files.checked import is_whole, read_json, read_optional, read_tensors, write_checked
from safediffusion.files.contents import Progress, Results, Step, Summary
from safediffusion.files.hashes import check_sealed, check_sums, sealed, write_sums
from safediffusion.files.json_lines import read_jsonl, readable_rows

PROGRESS = {"seconds": 1.5, "peak_memory_mib": 20, "phases": {"train": 1.0}}
WRONG = {
    "missing": (None, "it is missing"),
    "empty": (b"", "it is empty"),
    "cut": (b'{"seconds": 1.5, "pea', "it is not JSON"),
    "not text": (b"\xff\xfe\x00", "it is not JSON"),
    "nested": (b"[" * 100_000, "it is not JSON"),
    "a long number": (b'{"seconds": ' + b"9" * 5000 + b"}", "it is not JSON"),
    "a list": (b"[]", "it holds no JSON object"),
    "no keys": (b"{}", "`seconds`: field required"),
    "a wrong type": (b'{"seconds": "1", "peak_memory_mib": 2, "phases": {}}', "`seconds`"),
    "a wrong part": (b'{"seconds": 1, "peak_memory_mib": 2, "phases": {"train": []}}', "`phases.train`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_of_a_wrong_form_is_named_with_what_is_wrong(tmp_path: Path, case: str) -> None:
    content, why = WRONG[case]
    path = tmp_path / "progress.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Damaged, match=r"progress\.json is damaged: ") as error:
        read_json(path, Progress)
    assert why in str(error.value) and "\n" not in str(error.value)
    assert not is_whole(path, Progress)


@settings(max_examples=40)
@given(data=st.data())
def test_no_flipped_bit_of_a_checked_file_is_read_as_if_it_were_whole(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "progress.json"
    write_checked(path, PROGRESS)
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with suppress(Damaged):
        assert {k: v for k, v in read_json(path, Progress).items() if k in PROGRESS} == PROGRESS


def test_any_object_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    value = {"b": {10: 0.1, 9: [None, True, "ü"]}, "a": float("inf"), "tuple": (1, 2)}
    write_checked(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == json.loads(json.dumps(value | {"a": None}))  # JSON has no inf
    (tmp_path / "old.json").write_text(
        json.dumps(PROGRESS), encoding="utf-8"
    )  # of an earlier version: without a checksum
    assert read_json(tmp_path / "old.json", Progress) == PROGRESS


@pytest.mark.parametrize("harm", [lambda p: p.write_bytes(b"other"), lambda p: p.unlink()])
def test_a_file_that_belongs_to_another_is_checked_with_it(tmp_path: Path, harm, caplog) -> None:
    part = tmp_path / "part.bin"
    part.write_bytes(b"content")
    write_checked(tmp_path / "about.json", {"n": 1}, [part])
    assert is_whole(tmp_path / "about.json")
    harm(part)
    assert not is_whole(tmp_path / "about.json")
    assert "part.bin is damaged" in caplog.text and "is made again" in caplog.text


def test_lines_that_cannot_be_read_are_named_and_the_others_are_kept(tmp_path: Path, caplog) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "re\n\xff\n{"stop": 4}\n[]\n{"step": 6}\n{"step": 7')
    assert [row["step"] for row in readable_rows(path, Step)] == [1, 6]
    assert "metrics.jsonl is damaged (line 2: " in caplog.text and "4 of 6 lines are left out" in caplog.text
    with pytest.raises(Damaged, match="line 2"):
        read_jsonl(path)
    assert readable_rows(tmp_path / "none.jsonl") == []


def test_what_a_page_can_do_without_is_left_out_with_a_warning(tmp_path: Path, caplog) -> None:
    assert read_optional(tmp_path / "summary.json", Summary) == {} and not caplog.text
    (tmp_path / "summary.json").write_text('{"status": "finished"}', encoding="utf-8")
    assert read_optional(tmp_path / "summary.json", Summary) == {}
    assert "summary.json is damaged" in caplog.text and "is left out" in caplog.text
    (tmp_path / "results.json").mkdir()
    assert read_optional(tmp_path / "results.json", Results) == {}


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 40, None])
def test_damaged_tensors_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.arange(3.0)})
    path.write_bytes(path.read_bytes()[:-2] if content is None else content + b"x")
    with pytest.raises(Damaged, match=r"weights\.safetensors is damaged"):
        read_tensors(path)


def test_a_folder_is_compared_with_its_sums_and_new_files_are_welcome(tmp_path: Path) -> None:
    write_text(tmp_path / "unet/config.json", "{}")
    write_text(tmp_path / "model_index.json", "{}")
    write_sums(tmp_path)
    write_text(tmp_path / "README.md", "new")
    check_sums(tmp_path)
    (tmp_path / "unet/config.json").write_text("{ }", encoding="utf-8")
    with pytest.raises(Damaged, match=r"unet/config\.json is damaged"):
        check_sums(tmp_path)
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff\xff")
    with pytest.raises(Damaged, match="SHA256SUMS is damaged"):
        check_sums(tmp_path)
    write_tensors(tmp_path / "vae/more.safetensors", {"a": torch.zeros(1)})
    for lines in ((), ("0" * 64 + "  README.md",)):  # a list that lost its end
        write_text(tmp_path / "SHA256SUMS", "".join(f"{line}\n" for line in lines))
        with pytest.raises(Damaged, match="SHA256SUMS is damaged"):
            check_sums(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    check_sums(tmp_path)


def test_settings_that_changed_since_they_were_written_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(sealed("train:\n  lr: 1.0\n"), encoding="utf-8")
    check_sealed(path)
    path.write_text(path.read_text(encoding="utf-8").replace("1.0", "5.0"), encoding="utf-8")
    with pytest.raises(Damaged, match=r"config\.yaml is damaged.*--fresh"):
        check_sealed(path)
