"""`--nproc 2`: the results of one process, stopped and resumed, and a process that dies."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from torch import Tensor

from safediffusion.launch import CONFIGS, first_failed
from safediffusion.system import distributed
from tests.cli.conftest import Command, environment
from tests.cli.test_train import weights
from tests.held import LIMIT, held_run
from tests.two_processes import command_in_two_processes

TWO = ("--nproc", "2")
GRPO = ["train.algorithm=grpo", "train.kl=0.1", "train.window=2", "train.timestep_fraction=0.5"]
MODEL = "model/unet/diffusion_pytorch_model.safetensors"
NFT = ["train.algorithm=nft", "train.kl=0.1"]


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def gradient(run: Path) -> Tensor:
    """Adam's first moment after one step is a tenth of the gradient, free of Adam's division by it."""
    saved = load_file(run / "checkpoints/step_000001/optimizer.safetensors")
    return torch.cat([value.flatten() for name, value in saved.items() if name.endswith("exp_avg")])


def assert_same_results(one: Path, two: Path) -> None:
    """All that differs is the order in which floats were summed."""
    for a, b in zip(rows(one), rows(two), strict=True):
        for name in ("reward_mean", "reward_std", "reward_unsafe", "loss", "grad_norm", "kl_ref"):
            small = 1e-5 if name == "loss" else 1e-6  # GRPO's loss is a sum of advantages that cancel
            expected = None if a[name] is None else pytest.approx(a[name], rel=1e-3, abs=small)
            assert b[name] == expected, name
        assert b["image_stats"] == pytest.approx(a["image_stats"], rel=1e-3)
    before, after = gradient(one), gradient(two)
    # the advantages of a group cancel, so rounding is a larger share of the gradient than of its terms
    assert (before - after).norm() < 1e-3 * before.norm()


@pytest.mark.parametrize("own", [[*GRPO, "train.ema=0.5"], [*NFT, "train.lora_rank=2"]], ids=["full", "lora"])
def test_a_network_in_pieces_gives_the_results_of_one_process_and_goes_on_bit_for_bit(
    command: Command, words, tmp_path: Path, own: list[str]
) -> None:
    words = [*words, *own, "train.shard=true", "train.steps=2", "train.updates=2"]
    one = command("train", *words, "--out", "one")
    assert one.returncode == 0, one.stderr
    command_in_two_processes(["train", *words, "--out", "two"], tmp_path)
    assert_same_results(tmp_path / "one", tmp_path / "two")
    a, b = (load_file(tmp_path / run / MODEL) for run in ("one", "two"))
    assert a.keys() == b.keys() and all((a[k] - b[k]).abs().max() < 1e-4 for k in a)

    shutil.copytree(tmp_path / "two", tmp_path / "again")
    for later in ("summary.json", "model", "checkpoints/step_000002"):
        path = tmp_path / "again" / later
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command_in_two_processes(["train", *words, "--out", "again"], tmp_path)
    assert "resumed after round 1" in (tmp_path / "again/log.txt").read_text(encoding="utf-8")
    assert weights(tmp_path / "again") == weights(tmp_path / "two")


def test_two_processes_give_the_results_of_one_and_stopped_by_sigterm_go_on_bit_for_bit(
    safediffusion: Command, command: Command, words, tmp_path: Path
) -> None:
    # three groups leave one process with one and the other with two
    words = [*words, *GRPO, "rollout.prompts=3", "train.micro_batch=3", "train.keep_checkpoints=3"]
    printed = command_in_two_processes(["train", *words, "--out", "whole"], tmp_path)
    assert "".join(printed).count("model ") == 1
    assert [row["step"] for row in rows(tmp_path / "whole")] == [1, 2, 3]
    assert json.loads((tmp_path / "whole/summary.json").read_text(encoding="utf-8"))["processes"] == 2

    with held_run([*words, *TWO], tmp_path / "cut", 1, environment()) as process:
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 143 and stderr.count("same command") == 1, stderr
    assert not (tmp_path / "cut/summary.json").exists()
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    again = safediffusion("train", *words, "--out", "cut", *TWO)
    assert again.returncode == 0 and again.stdout.count("model ") == 1, again.stdout + again.stderr
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert command("train", *words, "--out", "alone").returncode == 0
    assert "on 1 process instead of 2" in (tmp_path / "alone/log.txt").read_text(encoding="utf-8")
    assert command("train", *words, "--out", "one").returncode == 0
    assert_same_results(tmp_path / "one", tmp_path / "whole")
    assert_same_results(tmp_path / "one", tmp_path / "alone")


def test_when_a_process_dies_the_others_end_too(safediffusion: Command, words, tmp_path: Path) -> None:
    # the command's own limit is minutes; processes that waited for the dead one would wait for two hours
    done = safediffusion(
        "train", *words, "reward.kind=tests.cli.rewards:brightness_until_one_dies", "--out", "run", *TWO
    )
    assert done.returncode == 1 and "process 1 failed" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("failures", "first"),
    [
        ({0: (1, 7), 1: (-9, 7)}, 1),  # 0 lost 1, which was killed
        ({0: (1, 7), 1: (-9, 8)}, 1),
        ({0: (1, 7), 1: (-15, 7)}, 0),  # 1 was ended because 0 had failed
        ({0: (1, 7), 1: (-9, 40)}, 0),  # 1 did not end in time
        ({0: (2, 7), 1: (2, 7)}, 0),
    ],
)
def test_the_process_that_was_killed_is_named_before_those_that_lost_it(
    failures: dict[int, tuple[int, int]], first: int
) -> None:
    assert first_failed(failures) == first


def test_more_processes_than_prompts_are_refused(command: Command, words, monkeypatch) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 4)
    done = command("train", *words, "--out", "run")
    assert done.returncode == 2 and "rollout.prompts=4 or more" in done.stderr


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("rollout.prompts=3", "rollout.prompts to 2"),
        ("train.updates=7", "a divisor of"),
        ("train.optimizer=adamw8bit", "train.optimizer=adamw"),
    ],
)
def test_pieces_that_could_not_keep_step_are_refused(
    command: Command, words, monkeypatch, setting: str, says: str
) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr("safediffusion.run.preflight.check_optimizer", lambda name, device: None)
    done = command("train", *words, "train.algorithm=nft", "train.shard=true", setting, "--out", "run")
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_the_shipped_accelerate_configuration_is_one() -> None:
    config = load_config_from_file(str(CONFIGS / "ddp.yaml"))
    assert config.distributed_type == "MULTI_GPU" and config.num_processes == 8


def test_sharding_that_would_silently_not_happen_is_refused(command: Command, words, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    done = command("train", *words, "--out", "run")
    assert done.returncode == 2 and "train.shard=true" in done.stderr
