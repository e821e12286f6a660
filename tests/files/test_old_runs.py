"""Runs of the first version: no checksums, tasks of version 1. All that reads a run still reads them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safediffusion.config import load_run_config
from safediffusion.errors import UserError
from safediffusion.evaluation.results import compare, is_judged
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.contents import Resumable
from safediffusion.files.run_folder import RunFolder
from safediffusion.publish.export import Target, copy
from safediffusion.report.report import write_report
from safediffusion.report.tables import comparison, run_changes
from safediffusion.training.checkpoint import newest_whole, read_state
from safediffusion.world.scenes import CATEGORIES

LABELS = ("safe", *CATEGORIES, "unrecognisable")
TASK, N = "world-i2p", 14
CONFIG = """\
recipe: world
seed: 0
watch: []
model: {path: world, dtype: auto, storage: fp32, vae: whole, tiny_vae: null, offload: false, resolution: null}
prompts: {path: world-mixed, column: prompt, subset: null, split: train, label: null, category: null,
  weight: 1.0, accept_sensitive: false, also: []}
reward: {kind: steering, name: null, weight: 1.0, encoder: world, anchors: scaled, alpha: 1.0,
  mode: translate, steer: unsafe, threshold: 0.0, views: 1, batch_size: 96, also: []}
rollout: {steps: 10, eta: 1.0, sde: cps, solver: ddim, guidance: 3.0, group_size: 4, prompts: 4,
  considered: 1, branches: 0, neighbours: 0.5, batch_size: 96}
train: {algorithm: nft, steps: 4, optimizer: adamw, max_seconds: null, lr: 0.003, lr_schedule: linear,
  lora_rank: 16, clip_range: 0.0001, trust_region: null, adv_clip: 2.0, adv_spread: round, kl: 0.02,
  kl_benign: 2.0, window: 0, timestep_fraction: 1.0, balance_steps: false, updates: 4, micro_batch: 96,
  shard: false, recompute: false, compile: false, channels_last: false, grad_norm: 0.003,
  weight_decay: 0.0001, ema: 0.9, cfg_update: true, old_decay_max: 0.5, old_decay_step: 0.02,
  checkpoint_every: 2, keep_checkpoints: 2, keep_best: null, sample_every: 2, stop_on_collapse: false}
evaluate: {tasks: [world-i2p], 'n': 14, during_every: 0, during_n: 64, steps: 16, guidance: 3.0, eta: 0.0,
  show_unsafe: false, seed: 1234}
"""
STATE = {
    "step": 4, "seconds": 10.5, "healthy": True, "monitor": {"rounds": 4, "suspicious": 0}, "processes": 1,
    "spreads": {"118": 0.4}, "tiny_agreement": None, "score": None,
}  # fmt: skip
SUMMARY = {
    "status": "finished", "recipe": "world", "seconds": 39.9, "train_seconds": 10.5, "device": "cpu",
    "processes": 1, "images": 64, "updates": 16, "peak_memory_mib": 747, "collapsed_at": None,
    "before": {}, "after": {},
}  # fmt: skip


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_judgement(folder: Path, unsafe: int) -> None:
    """Records of which the first `unsafe` show harm, and one of their metrics."""
    records = []
    for i, row in enumerate(get_task(TASK).prompts(N, 1234)):
        found = "violence" if i < unsafe else "safe"
        harm = {label: 0.92 if label == found else 0.01 for label in LABELS}
        records.append(row | {"index": i, "harm": harm})
    rate = {"value": unsafe / N, "ci_low": 0.0, "ci_high": 1.0, "n": N, "higher_is_better": False}
    drawn = {"sampler": {"steps": 16, "guidance": 3.0, "eta": 0.0}, "seeds": {"seed": 1234}}
    head = {"task": TASK, "version": 1, "n": N, "n_failed": 0, "failed": {}} | drawn
    write(folder / "results.json", head | {"metrics": {"inappropriate_rate": rate | {"protocol": "top1"}}})
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "records.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture
def old_run(tmp_path: Path) -> RunFolder:
    """What the first version left of a finished run."""
    folder = RunFolder(tmp_path / "old")
    write_judgement(folder.eval_path("before", TASK), 12)
    write_judgement(folder.eval_path("after", TASK), 1)
    folder.config.write_text(CONFIG, encoding="utf-8")
    write(folder.summary, SUMMARY)
    write(folder.progress, {"seconds": 39.9, "peak_memory_mib": 747, "phases": {"train": 17.05}})
    write(folder.env, {"safediffusion": "0.1.0", "device": "cpu"})
    write(folder.model / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    step = folder.checkpoints / "step_000004"
    write(step / "state.json", STATE)
    save_file({"w": torch.ones(2)}, step / "weights.safetensors")
    return folder


def test_a_run_of_the_first_version_is_reported_compared_and_exported(old_run: RunFolder) -> None:
    assert "became safer" in write_report(old_run).read_text(encoding="utf-8")
    assert [change.verdict for change in run_changes(old_run)] == ["better"]
    assert not isinstance(comparison([old_run.root]), str)
    exported = copy(old_run.root, Target.diffusers, old_run.root.with_name("exported"))
    assert "inappropriate_rate" in (exported / "README.md").read_text(encoding="utf-8").replace("\\", "")


def test_a_checkpoint_of_the_first_version_is_resumed_and_that_is_said(old_run: RunFolder, caplog) -> None:
    assert load_run_config(old_run.config).train.steps == 4
    with caplog.at_level(logging.WARNING, "safediffusion"):
        path = newest_whole(old_run.checkpoints)
    assert path and Resumable.model_validate(read_state(path))
    assert [r.getMessage() for r in caplog.records] == [
        f"{path} was written without hashes, so its content is not checked"
    ]


def test_a_resumed_run_judges_again_what_an_older_version_judged(old_run: RunFolder, caplog) -> None:
    folder = old_run.eval_path("before", TASK)
    assert is_judged(folder) and is_judged(folder, 1)
    with caplog.at_level(logging.WARNING, "safediffusion"):
        assert not is_judged(folder, get_task(TASK).version)
    assert "of version 1 of the task" in caplog.text and "evaluated again" in caplog.text


def test_results_of_two_versions_are_refused_with_the_command_that_mends_them(old_run: RunFolder) -> None:
    new = old_run.eval_path("after", TASK) / "results.json"
    write(new, json.loads(new.read_text(encoding="utf-8")) | {"version": get_task(TASK).version})
    with pytest.raises(UserError, match="score the older ones again with: safediffusion evaluate") as error:
        compare(old_run.eval_path("before"), old_run.eval_path("after"))
    assert "\n" not in str(error.value)
