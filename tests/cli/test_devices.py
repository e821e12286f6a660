"""`--nproc 2`: the results of one process, stopped and resumed, and a process that dies."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from safediffusion.training import processes
from tests.cli.conftest import Command, environment
from tests.cli.test_train import weights

TWO = ("--nproc", "2")
GRPO = ["train.algorithm=grpo", "train.kl=0.1", "train.window=2", "train.timestep_fraction=0.5"]
NFT = ["train.algorithm=nft", "train.kl=0.1"]


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def gradient(run: Path) -> Tensor:
    """Adam's first moment after one step is a tenth of the gradient, free of Adam's division by it."""
    saved = load_file(run / "checkpoints/step_000001/optimizer.safetensors")
    return torch.cat([value.flatten() for name, value in saved.items() if name.endswith("exp_avg")])


@pytest.mark.parametrize("algorithm", [GRPO, NFT])
def test_two_processes_give_the_results_of_one(
    safediffusion: Command, command: Command, words, tmp_path: Path, algorithm: list[str]
) -> None:
    # three groups leave one process with one and the other with two
    words = [*words, *algorithm, "rollout.prompts=3", "train.steps=2", "train.micro_batch=3"]
    one = command("train", *words, "--out", "one")
    assert one.returncode == 0, one.stderr
    two = safediffusion("train", *words, "--out", "two", *TWO)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("model ") == 1
    first, second = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in second] == [1, 2]
    for a, b in zip(first, second, strict=True):
        assert a["trained_timesteps"] == b["trained_timesteps"] if algorithm is GRPO else True
        for name in ("reward_mean", "reward_std", "reward_unsafe", "loss", "grad_norm", "kl_ref"):
            assert b[name] == pytest.approx(a[name], rel=1e-3, abs=1e-6), name
        assert b["image_stats"] == pytest.approx(a["image_stats"], rel=1e-3)
    before, after = gradient(tmp_path / "one"), gradient(tmp_path / "two")
    # the order of a sum of floats is all that differs
    assert (before - after).norm() < 1e-4 * before.norm()
    assert json.loads((tmp_path / "two/summary.json").read_text())["processes"] == 2


def test_sigterm_stops_two_processes_and_they_go_on_bit_for_bit(
    safediffusion: Command, command: Command, words, tmp_path: Path
) -> None:
    words = [*words, "train.steps=6", "train.checkpoint_every=4"]
    assert safediffusion("train", *words, "--out", "whole", *TWO).returncode == 0
    start = [sys.executable, "-m", "safediffusion", "train", *words, "--out", "cut", *TWO]
    process = subprocess.Popen(start, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "cut/metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143 and "same command" in stderr, stderr
    assert not (tmp_path / "cut/summary.json").exists()
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    again = safediffusion("train", *words, "--out", "cut", *TWO)
    assert again.returncode == 0, again.stderr
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert command("train", *words, "--out", "alone").returncode == 0
    assert "on 1 process instead of 2" in (tmp_path / "alone/log.txt").read_text()
    assert [row["step"] for row in rows(tmp_path / "alone")] == list(range(1, 7))


def test_when_a_process_dies_the_others_end_within_a_minute(
    safediffusion: Command, words, tmp_path: Path
) -> None:
    start = time.monotonic()
    done = safediffusion(
        "train", *words, "reward.kind=tests.cli.rewards:brightness_until_one_dies", "--out", "run", *TWO
    )
    assert time.monotonic() - start < 60
    assert done.returncode == 1 and "process 1 failed" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_more_processes_than_prompts_are_refused(command: Command, words, monkeypatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 4)
    done = command("train", *words, "--out", "run")
    assert done.returncode == 2 and "rollout.prompts=4 or more" in done.stderr
