"""The worked examples of docs/ run as they stand there, on tiny networks and with small numbers."""

import re
from pathlib import Path

import pytest
import torch

from safediffusion import world
from tests.cli.conftest import Command
from tests.evaluation.conftest import save_observer
from tests.pipelines import tiny_pipeline
from tests.test_docs import DOCS, FENCE, commands

SMALL = [
    "reward.encoder=world",  # other encoders are downloads
    "rollout.steps=2",
    "rollout.group_size=2",
    "rollout.prompts=3",
    "train.steps=1",
    "train.updates=1",
    "evaluate.tasks=[]",
    "evaluate.steps=2",
]


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny World, and a tiny model of one's own in the working folder."""
    assets = tmp_path / "assets"
    torch.manual_seed(0)
    save_observer(assets / "reward")
    tiny_pipeline().save_pretrained(assets / "pipeline")
    tiny_pipeline(seed=1).save_pretrained(tmp_path / "my-model")
    monkeypatch.setattr(world, "ASSETS", assets)


def offline(words: list[str]) -> bool:
    """Whether a command needs no judges, no encoder that has learnt something, and no published model.

    Checkpoints in one file have the architecture of one; tests/cli/test_single_file.py has tiny ones with
    settings of their own.
    """
    published = any("model.safetensors" in word or word == "OWNER/NAME" for word in words)
    judged = words[0] == "evaluate" or words[:2] == ["anchors", "audit"] or "--encoder" in words
    return not (published or judged)


@pytest.mark.parametrize("name", ["own-model", "own-reward", "own-anchors"])
def test_worked_examples_run(command: Command, networks: None, tmp_path: Path, name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for _, title, body in FENCE.findall(text):
        if title:
            (tmp_path / title).write_text(body, encoding="utf-8")
    done = {}
    for words in filter(offline, commands(text)):
        done[" ".join(words)] = result = command(*words, *(SMALL if words[0] == "train" else []))
        assert result.returncode == 0, (words, result.stderr)
    assert any(words.startswith("train") for words in done)
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 1 and (runs[0] / "report.html").is_file()
    for block in [body for kind, _, body in FENCE.findall(text) if kind == "python" and "train(" in body]:
        before = sorted((runs[0]).iterdir())
        exec(block.replace('"train.steps=100"', ", ".join(map(repr, SMALL))), {})
        assert sorted((runs[0]).iterdir()) == before  # the same run as the command's, which is finished
    if name == "own-reward":
        assert '"colour"' in (runs[0] / "metrics.jsonl").read_text(encoding="utf-8")
    if name == "own-anchors":
        assert "bloody content" in (runs[0] / "anchors.json").read_text(encoding="utf-8")


def test_the_example_reward_prefers_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = (DOCS / "own-reward.md").read_text(encoding="utf-8")
    (module, trial) = [body for kind, _, body in FENCE.findall(text) if kind == "python"]
    (tmp_path / "colour.py").write_text(module, encoding="utf-8")
    exec(trial, {})
    grey, vivid = map(float, re.findall(r"-?\d\.\d+", capsys.readouterr().out))
    assert grey < vivid
