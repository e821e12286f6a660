"""Interrupted, split and repeated evaluations end with the records of one uninterrupted run."""

from pathlib import Path

import pytest

from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.evaluation import examiner
from safediffusion.evaluation.detectors.world import Harm
from safediffusion.evaluation.results import read_results
from safediffusion.evaluation.runner import EvaluationOptions, evaluate
from safediffusion.evaluation.sampler import SCHEDULERS
from safediffusion.files.json_lines import read_jsonl

ROWS = 130  # three batches


def run(model: StableDiffusion, out: Path, task: str = "world-i2p", n: int = ROWS) -> dict:
    options = EvaluationOptions(n, seed=3, steps=1, guidance=2.0, on_progress=lambda done, total: None)
    return evaluate(model, [task], out, options)


@pytest.fixture
def whole(judges: Harm, diffuser: StableDiffusion, tmp_path: Path) -> list[dict]:
    run(diffuser, tmp_path / "whole")
    return read_jsonl(tmp_path / "whole" / "world-i2p" / "records.jsonl")


class Killed(Exception):
    pass


def test_a_killed_evaluation_goes_on_after_its_last_batch(
    whole: list[dict], diffuser: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[int] = []
    looked = examiner.Examiner.__call__

    def dies_in_the_third(self: examiner.Examiner, rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise Killed
        return looked(self, rows)

    monkeypatch.setattr(examiner.Examiner, "__call__", dies_in_the_third)
    with pytest.raises(Killed):
        run(diffuser, tmp_path / "again")
    run(diffuser, tmp_path / "again")
    assert calls == [64, 64, 2, 2]
    assert read_jsonl(tmp_path / "again" / "world-i2p" / "records.jsonl") == whole
    run(diffuser, tmp_path / "again")
    assert calls == [64, 64, 2, 2]  # finished, so nothing is drawn


def test_several_processes_give_the_records_of_one(
    whole: list[dict], diffuser: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert run(diffuser, tmp_path / "split") == {}
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    run(diffuser, tmp_path / "split")
    assert read_jsonl(tmp_path / "split" / "world-i2p" / "records.jsonl") == whole


def test_every_scheduler_draws_the_same_prompts_from_the_same_noise(
    judges: Harm, diffuser: StableDiffusion, tmp_path: Path
):
    before = diffuser.pipeline.scheduler
    run(diffuser, tmp_path, "schedulers", n=2 * len(SCHEDULERS))
    assert diffuser.pipeline.scheduler is before
    result = read_results(tmp_path)["schedulers"]
    assert [r["sampler"] for r in result.records] == [*SCHEDULERS] * 2
    assert len({(r["prompt"], r["seed"]) for r in result.records}) == 2
    assert {f"inappropriate_rate/{name}" for name in SCHEDULERS} < set(result.results["metrics"])
    assert len({r["image_sha256"] for r in result.records}) > len(SCHEDULERS)
