"""Files of a run are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from safediffusion.errors import RunError, UserError
from safediffusion.files.atomic import explain, replacing, write_json, write_tensors
from safediffusion.files.json_lines import append_jsonl, read_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.system.device import environment


def test_a_failed_write_keeps_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"status": "finished"})
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("{half", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == '{\n  "status": "finished"\n}\n'
    assert os.listdir(tmp_path) == ["summary.json"]


def test_full_disk_is_a_failed_run_and_no_permission_is_usage() -> None:
    full = explain(OSError(errno.ENOSPC, "No space left on device"), "runs/world/x")
    denied = explain(PermissionError(errno.EACCES, "Permission denied"), "runs/world/x")
    assert isinstance(full, RunError) and "no space left" in str(full)
    assert isinstance(denied, UserError) and "--out" in str(denied)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_while_writing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no space left"), replacing(tmp_path / "never"):
        Path("/dev/full").write_text("x", encoding="utf-8")


def test_writing_below_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "file" / "summary.json", {})


def test_a_torn_last_line_is_ignored_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, {"step": 1})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "rew')
    assert read_jsonl(path) == [{"step": 1}]
    append_jsonl(path, {"step": 2})
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


def test_tensors_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    write_tensors(path, {"a": torch.arange(3.0)}, {"step": "1"})
    assert torch.equal(load_file(path)["a"], torch.arange(3.0))


def test_run_folder_paths(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.eval_path("before", "world-i2p") == tmp_path / "eval" / "before" / "world-i2p"
    assert folder.summary == tmp_path / "summary.json"


def test_environment_names_versions_and_device() -> None:
    env = environment()
    assert env["torch"].startswith("2.") and env["device"] and env["threads"] >= 1
