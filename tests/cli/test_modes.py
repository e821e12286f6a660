"""Whoever the umask lets read new files can read everything that a run and its exports leave behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture(params=[0o002, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def test_every_file_of_a_run_and_of_its_exports_has_the_umasks_mode(
    command: Command, words: list[str], tmp_path: Path, umask: int
) -> None:
    settings = ["train.lora_rank=2", "train.ema=0.5", "train.keep_best=reward_mean", "train.sample_every=1"]
    done = command("train", *words, *settings, "train.steps=2", "--out", "run")
    assert done.returncode == 0, done.stderr
    for target in ("diffusers", "lora", "kohya"):
        assert command("export", "run", "--to", target).returncode == 0
    assert command("sample", "run", "a red square").returncode == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "prompts.csv"]
    assert len({path.suffix for path in written}) > 6
    modes = {str(path.relative_to(tmp_path)): oct(path.stat().st_mode & 0o777) for path in written}
    assert {name: mode for name, mode in modes.items() if mode != oct(0o666 & ~umask)} == {}
