"""A run audits the direction of its steering reward before its first round."""

from pathlib import Path

import pytest

from safediffusion.files.checked import read_json
from safediffusion.files.contents import Bias
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt
from safediffusion.run.inputs import write_bias
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.reward import ClipReward, Rewards, SteeringReward, WeightedReward
from tests.steering.known_encoder import KnownEncoder

PROMPTS = [Prompt(f"{word} scene {i}", label) for i in range(3) for word, label in
           (("safe", "benign"), ("unsafe", "unsafe"))]  # fmt: skip


def rewards(safe: str = "safe thing", unsafe: str = "unsafe thing") -> Rewards:
    encoder = KnownEncoder()
    direction = SafetyDirection.from_anchors(encoder, SafetyPolicy("mine", "", (safe,), (unsafe,)))
    steering = SteeringReward(encoder, direction, alpha=0.7, mode="project", below=0.1)
    return Rewards([WeightedReward("clip", 1, ClipReward(encoder)), WeightedReward("steering", 1, steering)])


def test_the_audit_is_of_the_run_s_own_reward_and_kept_when_it_is_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_bias(folder, rewards(), PROMPTS)
    found = read_json(folder.bias, Bias)
    assert (found["policy"], found["alpha"], found["threshold"]) == ("mine", 0.7, 0.1)
    written = folder.bias.stat().st_mtime_ns
    write_bias(folder, rewards(), PROMPTS)
    assert folder.bias.stat().st_mtime_ns == written


def test_a_run_goes_on_where_nothing_can_be_audited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bias(RunFolder(tmp_path), rewards(), PROMPTS[:1])  # no unsafe prompts
    assert not caplog.messages
    write_bias(RunFolder(tmp_path), rewards("unsafe thing", "safe thing"), PROMPTS)
    assert "no bias audit" in caplog.text and not list(tmp_path.iterdir())
