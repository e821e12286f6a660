"""What a killed process leaves is swept by the next one, and nothing of a living process is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safediffusion.errors import UserError
from safediffusion.files import leftovers
from safediffusion.files.atomic import replacing_folder, write_text
from safediffusion.files.leftovers import older, sweep, sweep_below, temporary

DEAD = 2**22 + 1  # more than Linux gives to a process


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_only_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    alive = temporary(tmp_path / "summary.json")
    alive.write_text("half", encoding="utf-8")
    for name in (".summary.json.{}.tmp", "deep/.x.png.{}.tmp", ".step_000001.partial"):
        write_text(tmp_path / name.format(DEAD), "half")
    (tmp_path / f".model.{DEAD}.tmp").mkdir()
    for name in ("mine.tmp", ".mine.tmp", f"mine.{DEAD}.tmp", ".hidden"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    sweep_below(tmp_path)
    assert names(tmp_path) == sorted(
        [alive.name, "deep", "mine.tmp", ".mine.tmp", f"mine.{DEAD}.tmp", ".hidden"]
    )
    assert names(tmp_path / "deep") == []


def test_the_number_of_a_dead_process_may_be_another_ones_by_now(tmp_path: Path) -> None:
    left = temporary(tmp_path / "x")
    left.write_text("of a process with this number, long ago", encoding="utf-8")
    os.utime(left, (1, 1))
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_an_older_folder_comes_back_if_the_new_one_never_came(tmp_path: Path) -> None:
    write_text(older(tmp_path / "best") / "state.json", "old")
    write_text(older(tmp_path / "model") / "x", "old")
    write_text(tmp_path / "model/x", "new")
    sweep(tmp_path)
    assert names(tmp_path) == ["best", "model"]
    assert (tmp_path / "best/state.json").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "model/x").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("before", ["old", None])
def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path, before: str | None) -> None:
    target = tmp_path / "model"
    if before:
        write_text(target / "x", before)
    with pytest.raises(KeyboardInterrupt), replacing_folder(target) as folder:
        (folder / "x").write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert (target / "x").read_text(encoding="utf-8") == before if before else names(tmp_path) == []
    with replacing_folder(target) as folder:
        (folder / "x").write_text("new", encoding="utf-8")
    assert (target / "x").read_text(encoding="utf-8") == "new" and names(tmp_path) == ["model"]
    with pytest.raises(UserError, match="exists already"), replacing_folder(target, over=False):
        pass
    assert (target / "x").read_text(encoding="utf-8") == "new" and names(tmp_path) == ["model"]


def test_a_process_killed_at_any_rename_of_a_folder_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from safediffusion.files.atomic import replacing_folder
count = 0
def hook(event, arguments):
    global count
    if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
        count += 1
        if count == int(sys.argv[2]):
            os._exit(9)
with replacing_folder(Path(sys.argv[1])) as folder:
    (folder / "x").write_text("new")
    (folder / "y").write_text("new")
    sys.addaudithook(hook)
"""
    for number in range(1, 20):
        target = tmp_path / str(number) / "model"
        write_text(target / "x", "old")
        code = subprocess.run([sys.executable, "-c", script, str(target), str(number)]).returncode
        sweep(target.parent)
        assert names(target.parent) == ["model"], number
        found = {name: (target / name).read_text(encoding="utf-8") for name in names(target)}
        assert found in ({"x": "old"}, {"x": "new", "y": "new"}), number
        if code == 0:
            return
    pytest.fail("the last operation was never reached")


def test_writing_a_file_removes_what_was_left_of_it_anywhere(tmp_path: Path) -> None:
    (tmp_path / f".sample.png.{DEAD}.tmp").write_text("half", encoding="utf-8")
    (tmp_path / f".other.png.{DEAD}.tmp").write_text("of another program, for all we know", encoding="utf-8")
    leftovers._left.cache_clear()
    write_text(tmp_path / "sample.png", "whole")
    assert names(tmp_path) == [f".other.png.{DEAD}.tmp", "sample.png"]
