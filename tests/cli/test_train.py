"""`safediffusion train`: runs, resumes bit for bit, refuses what it cannot do, and says why."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from safediffusion.config import load_config
from safediffusion.files.json_lines import readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.evaluations import read_during
from safediffusion.run.plan import preview
from tests.cli.conftest import Command, environment
from tests.held import LIMIT, held_run


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model/unet/diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()


def test_a_run_leaves_summary_report_samples_and_model(
    safediffusion: Command, command: Command, words, tmp_path: Path
) -> None:
    done = safediffusion("train", *words, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "finished"
    assert (summary["images"], summary["updates"]) == (12, 3)
    assert {"before", "after", "seconds", "device", "peak_memory_mib", "recipe"} <= summary.keys()
    for name in (
        "config.yaml",
        "env.json",
        "report.html",
        "log.txt",
        "samples/step_000000.png",
        "model/model_index.json",
    ):
        assert (tmp_path / "run" / name).is_file(), name

    again = command("train", *words, "--out", "run")
    assert again.returncode == 0 and "is finished" in again.stderr
    other = command("train", *words, "train.lr=1e-3", "seed=4", "--out", "run")
    assert other.returncode == 2 and "seed, train.lr" in other.stderr and "--fresh" in other.stderr
    fresh = command("train", *words, "seed=4", "--out", "run", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert (tmp_path / "run-2/summary.json").is_file()
    assert weights(tmp_path / "run") != weights(tmp_path / "run-2")


def test_small_evaluations_make_no_other_run_and_are_read_only_after_each(
    command: Command, words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def counted(folder: RunFolder) -> list[dict[str, Any]]:
        reads.append(len(readable_rows(folder.metrics)) if folder.metrics.exists() else 0)
        return read_during(folder)

    monkeypatch.setattr("safediffusion.run.rounds.read_during", counted)
    words = [*words, "evaluate.tasks=[world-i2p]", "evaluate.n=1"]
    assert command("train", *words, "--out", "alone").returncode == 0
    assert reads == [0]
    done = command("train", *words, "evaluate.during_every=2", "evaluate.during_n=1", "--out", "watched")
    assert done.returncode == 0, done.stderr
    assert reads == [0, 0, 2] and weights(tmp_path / "watched") == weights(tmp_path / "alone")
    again = command("train", *words, "--out", "watched")
    assert again.returncode == 0 and "is finished" in again.stderr
    chosen = ["train.keep_best=-world-i2p/inappropriate_rate", "evaluate.during_every=1"]
    other = command("train", *words, *chosen, "--out", "watched")
    assert other.returncode == 2 and "evaluate.during_every, " in other.stderr


def test_dry_run_prints_the_plan_and_touches_nothing(command: Command, words, tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    done = command("train", *words, "--dry-run", "--card", 12)
    assert done.returncode == 0, done.stderr
    for text in (
        "group_size: 2",
        "trainable parameters",
        "images per step        4",
        "optimizer steps in all 3",
        "MiB",
        "disk, estimated",
        "card at hand           as given, 12 GB: the run fits",
        "GiB that are free in runs/world",
    ):
        assert text in done.stdout
    done = command("train", *words, "--card", 12)
    assert done.returncode == 2 and "add --dry-run" in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(
    safediffusion: Command, command: Command, words, tmp_path: Path
) -> None:
    words = [*words, "train.steps=4"]
    assert command("train", *words, "--out", "whole").returncode == 0
    for number, again in ((signal.SIGKILL, safediffusion), (signal.SIGINT, command)):
        cut = tmp_path / number.name
        with held_run(words, cut, 2, environment()) as process:
            process.send_signal(number)
            _, stderr = process.communicate(timeout=LIMIT)
        assert not (cut / "summary.json").exists()
        if number == signal.SIGINT:
            assert process.returncode == 130 and "same command" in stderr
        assert again("train", *words, "--out", cut.name).returncode == 0
        assert weights(cut) == weights(tmp_path / "whole")
        lines = (cut / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_prompts_are_mixed_and_several_rewards_are_logged(command: Command, words, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("a green star\nA RED  square\na boat\n", encoding="utf-8")
    done = command(
        *("train", *words, "--out", "run", "train.steps=1"),
        "prompts.also=[{path: more.txt, label: benign, weight: 0.5}]",
        "reward.also=[{kind: tests.cli.rewards:brightness, name: again, weight: 0.5}]",
    )
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8"))
    first, again = row["rewards"].values()
    assert list(row["rewards"]) == ["tests.cli.rewards:brightness", "again"] and first == again
    found = json.loads((tmp_path / "run/prompts.json").read_text(encoding="utf-8"))
    assert found["prompts"] == 5 and found["left_out"] == {"repeated": 1, "minors": 0, "categories": 0}
    assert {kind["source"]: kind["prompts"] for kind in found["kinds"]}[1] == 2
    assert found["cut"]["the model"]["cut"] == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["reward.alhpa=0.7"], "did you mean reward.alpha?"),
        (["reward.alpha=-1"], "reward.alpha=-1"),
        (["rollout.group_size=1"], "rollout.group_size=1"),
        (["train.algorithm=grpo", "rollout.eta=0"], "rollout.eta is 0"),
        (["rollout.neighbours=1"], "rollout.neighbours"),
        (["rollout.neighbours=0.5", "rollout.steered=0.5"], "less than 1 together"),
        (["rollout.steered=0.25"], "reward.kind=steering"),
        (["reward.kind=steering", "rollout.steered=0.25", "prompts.label=benign"], "no prompt is"),
        (
            ["reward.kind=steering", "rollout.steered=0.25", "train.algorithm=grpo"],
            "rollout.steered is 0.25, but grpo",
        ),
        (["rollout.steps=2000"], "set rollout.steps to 1000 or less"),
        (["prompts.path=nothing.txt"], "no such file"),
        (["prompts.path=empty.txt"], "holds no prompt"),
        (["rollout.prompts=4"], "rollout.prompts=3 or less"),
        (["model.path=folder"], "model_index.json"),
        (["reward.kind=steering", "reward.anchors=anchors.yaml"], "unsafe"),
        (["evaluate.tasks=[world-i2q]"], "world-i2p"),
        (["--out", "folder"], "does not hold a run"),
        (["--out", "empty.txt"], "is a file"),
        (["--out", "/proc/run"], "cannot write"),
    ],
)
def test_bad_input_is_one_or_two_lines_and_exit_code_2(
    command: Command, words, tmp_path: Path, extra: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "anchors.yaml").write_text(
        "name: mine\ndescription: x\nsafe: [a red square]\nunsafe: []\n", encoding="utf-8"
    )
    done = command("train", *words, *extra)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.split("\r")[-1].strip().splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


def test_no_write_permission_is_said_plainly(safediffusion: Command, words, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    done = safediffusion("train", *words, "--out", "locked/run")
    assert done.returncode == 2 and "permission denied" in done.stderr


def test_the_plan_knows_the_size_of_a_run_folder(command: Command, words, tmp_path: Path) -> None:
    words = [*words, "train.lora_rank=4", "train.kl=0.1", "train.ema=0.9", "train.keep_checkpoints=1"]
    assert command("train", *words, "--out", "run").returncode == 0
    model = tensor_bytes(tmp_path / "run" / "model")
    checkpoint = tensor_bytes(tmp_path / "run" / "checkpoints")
    assert preview(load_config(None, words)).disk == pytest.approx(model + 2 * checkpoint, rel=0.01)


def tensor_bytes(folder: Path) -> int:
    """Bytes of all tensors below a folder, without the files' headers and the small states of generators."""
    files = (file for file in folder.rglob("*.safetensors") if file.stem != "random")
    tensors = (tensor for file in files for tensor in load_file(file).values())
    return sum(tensor.nbytes for tensor in tensors)
