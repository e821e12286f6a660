"""The real command in a real process, on a tiny pipeline of the same kind as Stable Diffusion."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from safediffusion.cli import entry
from safediffusion.files.atomic import write_text
from safediffusion.report import plots
from tests.held import LIMIT
from tests.pipelines import tiny_pipeline

ROOT = Path(__file__).parents[2]
Command = Callable[..., Any]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(path)
    return path


@pytest.fixture
def words(tiny_model: Path, tmp_path: Path) -> list[str]:
    """Settings that make a run take a second."""
    prompts = tmp_path / "prompts.csv"
    prompts.write_text(
        "prompt,label\na red square,benign\na person sunbathing,unsafe\na blue circle,benign\n",
        encoding="utf-8",
    )
    return [
        f"model.path={tiny_model}",
        "model.dtype=fp32",
        f"prompts.path={prompts}",
        "reward.kind=tests.cli.rewards:brightness",
        "rollout.steps=4",
        "rollout.group_size=2",
        "rollout.prompts=2",
        "train.steps=3",
        "train.updates=1",
        "train.checkpoint_every=1",
        "evaluate.tasks=[]",
        "evaluate.steps=2",
    ]


def environment() -> dict[str, str]:
    """Of a command in a process of its own, whose results are compared bit for bit with this process's."""
    return os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),  # sums are split by it
        "CUDA_VISIBLE_DEVICES": "",
    }


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `safediffusion WORDS` in an empty folder, in this process: nothing is imported twice.

    Plots are empty: drawing takes most of a tiny run's time. A command in a process of its own draws them.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "svg", lambda figure, key="": "<svg></svg>")
    monkeypatch.setattr(plots, "save_png", lambda figure, path: write_text(path, "no picture"))

    def run(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["safediffusion", *map(str, args)])
        code = 0
        try:
            entry.run()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Done(code, *capfd.readouterr())

    return run


@pytest.fixture
def safediffusion(tmp_path: Path) -> Command:
    """Run `safediffusion WORDS` in an empty folder."""

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "safediffusion", *map(str, args)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=LIMIT
        )

    return run
