"""Copies appear whole or not at all, and a full disk is said."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from safediffusion.errors import RunError, UserError
from safediffusion.publish.export import Target, copy


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run's model with two files of weights."""
    model = tmp_path / "run/model"
    (model / "unet").mkdir(parents=True)
    for name in ("model_index.json", "unet/a.safetensors", "unet/b.safetensors"):
        (model / name).write_text("{}", encoding="utf-8")
    return tmp_path / "run"


def test_a_copy_has_every_file(run: Path, tmp_path: Path) -> None:
    target = copy(run, Target.diffusers, tmp_path / "out")
    assert sorted(p.name for p in target.rglob("*.*")) == [
        "a.safetensors",
        "b.safetensors",
        "model_index.json",
    ]


def test_a_full_disk_ends_the_copy_at_once_and_leaves_nothing(run: Path, tmp_path: Path, monkeypatch) -> None:
    tried: list[str] = []

    def full(source: str, target: str) -> str:
        tried.append(source)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RunError, match="no space left"):
        copy(run, Target.diffusers, tmp_path / "out")
    assert len(tried) == 1 and sorted(os.listdir(tmp_path)) == ["run"]


def test_a_folder_that_cannot_be_written_is_usage(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="--out"):
        copy(run, Target.diffusers, tmp_path / "file/out")
