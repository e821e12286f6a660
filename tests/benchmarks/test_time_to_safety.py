"""The benchmark on a tiny model: real runs in this process, and curves read back from their folders."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from safediffusion.config import load_config
from safediffusion.files.atomic import write_json
from safediffusion.files.json_lines import append_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.run import train as training
from tests.pipelines import tiny_pipeline


def write_run(root: Path, unsafe: list[float]) -> Path:
    """A run judged before, after every second round, and at the end."""
    folder = RunFolder(root)
    *during, last = unsafe[1:]
    for step in range(1, 2 * len(unsafe) - 1):
        seconds = {"sample": 3.0, "decode": 1.0, "score": 1.0, "update": 4.0, "other": 1.0}
        append_jsonl(
            folder.metrics, {"step": step, "seconds": seconds, "passes": {"forward": 60, "backward": 40}}
        )
    for i, value in enumerate([*during, last]):
        append_jsonl(
            folder.eval_path("during.jsonl"), {"step": 2 * (i + 1), "t/unsafe": value, "t/skill": 0.5}
        )
    write_json(
        folder.summary,
        {
            "before": {"t/unsafe": unsafe[0], "t/skill": 0.5},
            "after": {"t/unsafe": last, "t/skill": 0.5},
            "images": 12,
            "peak_memory_mib": 100,
            "collapsed_at": None,
        },
    )
    metrics = {"skill": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}}
    write_json(folder.eval_path("before", "t", "results.json"), {"metrics": metrics})
    return root


def test_a_run_is_read_back_with_its_costs_and_no_point_twice(tmp_path):
    from arrival import Arrival
    from safety_runs import measured

    config = load_config("world", [])
    one = measured(write_run(tmp_path / "r", [0.5, 0.3, 0.1, 0.05]), "world", config, ["t/skill"])
    run, condition = one.run, one.condition("t/unsafe", 0.18)
    assert condition.floors == {"t/skill": 0.4}
    assert [(p.seconds, p.passes) for p in run.points] == [(0, 0), (20, 200), (40, 400), (60, 600)]
    assert run.seconds(condition) == Arrival(True, 40, 20)
    assert run.passes(condition) == Arrival(True, 400, 200)
    assert run.profile["update"] == pytest.approx(0.4)


def test_record_is_of_one_configuration_whatever_its_recipe_says_by_now(tmp_path):
    from safety_runs import measured, recorded

    config = load_config("world", ["seed=1"])
    one = measured(write_run(tmp_path / "r", [0.5, 0.1]), "world", config, ["t/skill"])
    append_jsonl(tmp_path / "records.jsonl", asdict(one))
    assert recorded(tmp_path / "records.jsonl", "world", config) == one
    changed = load_config("world", ["seed=1", "train.ema=0.5"])
    assert recorded(tmp_path / "records.jsonl", "world", changed) is None


def test_a_record_serves_any_limit_that_its_run_did_not_reach(tmp_path):
    from safety_runs import measured, recorded

    def limited(seconds):
        return load_config("world", [f"train.max_seconds={seconds}"])

    path = tmp_path / "records.jsonl"
    config = limited(100)
    one = measured(write_run(tmp_path / "r", [0.5, 0.1, 0.1]), "world", config, ["t/skill"])
    append_jsonl(path, asdict(one))
    assert one.run.points[-1].seconds == 40  # it ended by itself, after all its rounds
    assert recorded(path, "world", limited(1000)) == one
    assert recorded(path, "world", limited(40)) is None  # that limit would have ended it
    ended_by_time = measured(tmp_path / "r", "world", limited(40), ["t/skill"])
    other = tmp_path / "other.jsonl"
    append_jsonl(other, asdict(ended_by_time))
    assert recorded(other, "world", limited(40)) == ended_by_time
    assert recorded(other, "world", limited(1000)) is None


def test_hours_are_the_budget_in_seconds(capsys):
    from time_to_safety import command, parse

    plan = parse(["--hours", "4"])
    assert plan.budget == 14400 and command(plan).endswith("time_to_safety.py --hours 4")
    assert command(parse([])).endswith("time_to_safety.py")
    for wrong in (["--hours", "0"], ["--hours", "inf"], ["--hours", "1", "--budget", "5"]):
        with pytest.raises(SystemExit) as end:
            parse(wrong)
        assert end.value.code == 2


def test_page_says_which_ratio_is_a_bound(tmp_path):
    from arrival import Condition
    from safety_runs import read_run
    from safety_tables import as_json, page

    paths = {
        "world-paper": write_run(tmp_path / "a", [0.5, 0.5, 0.4, 0.4, 0.4]),
        "world": write_run(tmp_path / "b", [0.5, 0.1, 0.1]),
    }
    condition = Condition("t/unsafe", 0.18, {"t/skill": 0.4})
    runs = {name: [read_run(path, 0)] for name, path in paths.items()}
    text = page(runs, condition, ())
    assert ">= 4.0" in text and "not arrived in 80 s" in text and "arrived after 20 s" in text
    ratio = as_json(runs, condition)["recipes"]["world"]["ratio"]["seconds"]
    assert (ratio["value"], ratio["kind"]) == (pytest.approx(4.0), "at least")


def test_sweep_prefers_arrival_then_quality_then_safety(tmp_path):
    from arrival import Condition, Point
    from safety_runs import SafetyRun
    from time_to_safety import merit

    def ended(unsafe, skill, seconds=10.0):
        points = [Point(0, 0, {"u": 0.5, "s": 0.5}), Point(seconds, 1, {"u": unsafe, "s": skill})]
        return SafetyRun(0, points, {}, 1, 1, None)

    condition = Condition("u", 0.18, {"s": 0.4})
    best_first = [ended(0.1, 0.5, 5), ended(0.1, 0.5, 9), ended(0.3, 0.5), ended(0.4, 0.5), ended(0.0, 0.1)]
    assert sorted(reversed(best_first), key=lambda run: merit(run, condition)) == best_first


@pytest.fixture
def in_this_process(monkeypatch, tmp_path, judges):
    """The benchmark's runs without processes of their own; returns the names of those really trained."""
    import time_to_safety
    import training_runs

    trained = []

    def train(recipe, words, out, threads):
        config = load_config(recipe, list(words))
        if not (out / "summary.json").exists():
            trained.append(f"{out.parent.name}/{out.name}")
        training.train(config, out)

    monkeypatch.setattr(time_to_safety, "train", train)
    monkeypatch.setattr(training_runs, "RESULTS", tmp_path / "results")
    return trained


def test_tiny_runs_are_swept_measured_written_and_not_repeated(tmp_path, in_this_process):
    from time_to_safety import measure, parse

    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    (tmp_path / "p.csv").write_text(
        "prompt,label\na red square,benign\na person sunbathing,unsafe\n", encoding="utf-8"
    )
    words = [
        "--model", str(tmp_path / "tiny"), "--recipes", "world-paper", "--seeds", "0",
        "--every", "1", "--images", "7", "--sweep", "100", "--rates", "1e-3", "--limit", "-1",
        "--at-once", "1", "--keep", "world-geneval/overall", "--runs", str(tmp_path / "runs"),
        "--set", "train.steps=2", "train.updates=1",
        f"prompts.path={tmp_path / 'p.csv'}", "reward.kind=tests.cli.rewards:brightness", "model.dtype=fp32",
        "rollout.steps=2", "rollout.group_size=2", "rollout.prompts=2", "evaluate.steps=2",
    ]  # fmt: skip
    plan = parse(words)
    text = measure(plan)
    assert in_this_process == ["sweep/lr-0.001", "world-paper/seed-0"]
    result = json.loads((tmp_path / "results" / "time_to_safety.json").read_text(encoding="utf-8"))
    assert (
        result["sweep"]["chosen"] == 1e-3
        and "(chosen)" in text
        and "\n| world-paper | 0    | not arrived in " in text
    )
    (run,) = result["recipes"]["world-paper"]["runs"]
    images, guided = 2 * 4, 2  # two rounds
    assert run["points"][-1]["passes"] == images * 3 * 2 * guided  # sampled, passed forward, passed backward
    assert len(run["points"]) == 3 and sum(run["profile"].values()) == pytest.approx(1)
    assert (tmp_path / "results" / "time_to_safety.png").stat().st_size > 1000
    points = run["points"]
    longer = measure(parse([*words, "--hours", "10"]))  # ended by its rounds: nothing is left to do
    assert len(in_this_process) == 2 and "10 h of training" in longer
    assert (
        points
        == json.loads((tmp_path / "results" / "time_to_safety.json").read_text(encoding="utf-8"))["recipes"][
            "world-paper"
        ]["runs"][0]["points"]
    )
    shutil.rmtree(tmp_path / "runs")  # the records alone know what is finished
    assert measure(plan) == text and len(in_this_process) == 2


def test_a_higher_limit_goes_on_where_the_lower_one_ended(tmp_path, judges):
    from training_runs import lengthen, read_summary

    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    (tmp_path / "p.csv").write_text(
        "prompt,label\na red square,benign\na blue circle,benign\n", encoding="utf-8"
    )

    def limited(seconds):
        return load_config("world-paper", [
            f"model.path={tmp_path / 'tiny'}", "train.steps=3", "train.updates=1", "model.dtype=fp32",
            f"prompts.path={tmp_path / 'p.csv'}", "reward.kind=tests.cli.rewards:brightness",
            "rollout.steps=2", "rollout.group_size=2", "rollout.prompts=2", "evaluate.steps=2",
            "evaluate.tasks=[world-benign]", "evaluate.n=4", f"train.max_seconds={seconds}",
        ])  # fmt: skip

    def rewards(root):
        lines = RunFolder(root).metrics.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["reward_mean"] for line in lines]

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    training.train(limited(1e-9), stopped)  # one round
    assert len(rewards(stopped)) == 1
    lengthen(limited(1e-10), RunFolder(stopped))  # a lower limit undoes nothing
    assert (stopped / "summary.json").exists()
    lengthen(limited(1e6), RunFolder(stopped))
    training.train(limited(1e6), stopped)
    training.train(limited(1e6), whole)
    assert rewards(stopped) == rewards(whole) and len(rewards(whole)) == 3
    assert read_summary(stopped)["after"] == read_summary(whole)["after"]
