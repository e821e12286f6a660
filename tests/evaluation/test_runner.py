"""The whole way from prompts to results.json, and two models compared, on tiny real networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.world import Harm, Observer
from safediffusion.evaluation.results import compare, read_results, rescore
from safediffusion.evaluation.runner import evaluate
from safediffusion.evaluation.tasks import WORLD, get_task
from safediffusion.files.checked import read_json
from safediffusion.files.json_lines import read_jsonl
from safediffusion.world.scenes import CATEGORIES
from tests.pipelines import tiny_pipeline

NAMES = [task.name for task in WORLD]
FIELDS = {"value", "ci_low", "ci_high", "n", "higher_is_better", "protocol"}
SMALL = {"n": 12, "seed": 3, "steps": 2, "guidance": 2.0}


def run(model: StableDiffusion, out: Path, tasks: list[str] = NAMES, **changed: Any) -> dict:
    return evaluate(model, tasks, out=out, on_progress=lambda done, total: None, **(SMALL | changed))


@pytest.fixture
def results(judges: Harm, diffuser: StableDiffusion, tmp_path: Path) -> dict:
    return run(diffuser, tmp_path / "a")


def test_results_have_the_documented_form(results: dict, tmp_path: Path):
    for name in NAMES:
        stored = read_json(tmp_path / "a" / name / "results.json")
        assert "records.jsonl" in stored.pop("files")
        assert stored == json.loads(json.dumps(results[name]))
        assert {"task", "version", "model", "n", "metrics", "detectors", "sampler", "seeds", "env"} <= set(
            stored
        )
        assert stored["n"] == 12
        for metric in stored["metrics"].values():
            assert set(metric) == FIELDS
            assert metric["ci_low"] <= metric["value"] <= metric["ci_high"]


def test_a_model_that_was_loaded_from_a_path_has_its_name_in_the_results(judges: Harm, tmp_path: Path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    assert isinstance(loaded.name_or_path, Path)
    run(StableDiffusion(loaded, "cpu"), tmp_path / "out", ["world-exposed"], n=1)
    stored = read_json(tmp_path / "out/world-exposed/results.json")
    assert stored["model"] == str(tmp_path / "model")


def test_metrics_are_those_that_summaries_name(results: dict):
    assert {"inappropriate_rate", "unrecognisable_rate"} <= set(results["world-i2p"]["metrics"])
    assert {f"inappropriate_rate/{c}" for c in CATEGORIES} <= set(results["world-i2p"]["metrics"])
    assert {"total", "torso", "hips", "legs"} <= set(results["world-exposed"]["metrics"])
    assert {"overall", "counting", "color_attr"} <= set(results["world-geneval"]["metrics"])
    assert {"clip_t", "fid", "kid", "person_rate", "recognisable_rate", "blank_rate"} == set(
        results["world-benign"]["metrics"]
    )
    assert {"inappropriate_rate", "inappropriate_rate/typo"} <= set(results["world-attack"]["metrics"])


def test_stored_records_alone_give_the_same_metrics(results: dict, tmp_path: Path):
    for name in NAMES:
        records = read_jsonl(tmp_path / "a" / name / "records.jsonl")
        assert get_task(name).metrics(records) == results[name]["metrics"]
    assert rescore(tmp_path / "a")["world-i2p"]["metrics"] == results["world-i2p"]["metrics"]


def test_a_smaller_evaluation_is_the_beginning_of_a_larger(
    results: dict, diffuser: StableDiffusion, tmp_path: Path
):
    run(diffuser, tmp_path / "b", ["world-i2p"], n=5)
    few, many = (read_results(tmp_path / x)["world-i2p"].records for x in "ba")
    for a, b in zip(few, many[:5], strict=True):
        assert (a["prompt"], a["seed"]) == (b["prompt"], b["seed"])
        # other batch sizes round convolutions differently
        assert list(a["harm"].values()) == pytest.approx(list(b["harm"].values()), abs=1e-4)


def test_a_model_does_not_differ_from_itself(results: dict, tmp_path: Path):
    for rows in compare(tmp_path / "a", tmp_path / "a").values():
        for row in rows.values():
            assert (row["difference"], row["ci_low"], row["ci_high"], row["better"]) == (0, 0, 0, None)


def test_another_model_is_compared_on_the_same_rows(results: dict, tmp_path: Path):
    other = run(StableDiffusion(tiny_pipeline(seed=1), "cpu"), tmp_path / "b")
    assert other["world-i2p"]["model_sha256"] != results["world-i2p"]["model_sha256"]
    table = compare(tmp_path / "a", tmp_path / "b")
    assert set(table) == set(NAMES)
    for name, rows in table.items():
        for metric, row in rows.items():
            old, new = results[name]["metrics"][metric]["value"], other[name]["metrics"][metric]["value"]
            assert row["difference"] == pytest.approx(new - old, abs=1e-9)
            assert row["ci_low"] <= row["difference"] + 1e-9
            assert row["difference"] - 1e-9 <= row["ci_high"]


def test_other_seeds_or_samplers_are_not_compared(results: dict, diffuser: StableDiffusion, tmp_path: Path):
    run(diffuser, tmp_path / "seed", ["world-i2p"], seed=4)
    run(diffuser, tmp_path / "sampler", ["world-i2p"], steps=3)
    with pytest.raises(UserError, match="same seed and n"):
        compare(tmp_path / "a", tmp_path / "seed")
    with pytest.raises(UserError, match="another sampler"):
        compare(tmp_path / "a", tmp_path / "sampler")
    with pytest.raises(UserError, match="holds no results"):
        compare(tmp_path / "a", tmp_path / "nowhere")


def test_images_are_kept_only_on_request(judges: Harm, diffuser: StableDiffusion, tmp_path: Path):
    evaluate(
        diffuser,
        ["world-i2p"],
        out=tmp_path,
        save_images=True,
        on_progress=lambda a, b: None,
        **(SMALL | {"n": 3}),
    )
    assert sorted(p.name for p in (tmp_path / "world-i2p" / "images").iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
    ]
    run(diffuser, tmp_path / "none", ["world-i2p"], n=1)
    assert not (tmp_path / "none" / "world-i2p" / "images").exists()


def test_progress_counts_every_image_once(judges: Harm, diffuser: StableDiffusion, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    evaluate(
        diffuser,
        ["world-i2p", "world-attack"],
        out=tmp_path,
        on_progress=lambda *x: seen.append(x),
        **(SMALL | {"n": 70}),
    )
    assert seen == [(64, 140), (70, 140), (134, 140), (140, 140)]


def test_an_unknown_task_is_refused_with_a_suggestion(diffuser: StableDiffusion, tmp_path: Path):
    with pytest.raises(UserError, match="did you mean world-geneval"):
        evaluate(diffuser, ["world-genevl"], out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_task_whose_detectors_are_all_missing_draws_nothing(
    judges: Harm, diffuser: StableDiffusion, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "p.csv").write_text("prompt\na red square\n", encoding="utf-8")
    with pytest.raises(UserError, match="hf download"):
        run(diffuser, tmp_path / "a", ["clip"], prompts=tmp_path / "p.csv")
    found = run(diffuser, tmp_path / "a", ["clip", "world-i2p"], n=2, prompts=tmp_path / "p.csv")
    assert set(found) == {"world-i2p"} and "a task is left out" in caplog.text
    assert not (tmp_path / "a" / "clip").exists()


def test_default_sizes_balance_categories_and_tasks():
    rows = get_task("world-i2p").prompts(None, 1)
    assert len(rows) == 700
    assert all(sum(row["category"] == c for row in rows) == 100 for c in CATEGORIES)
    tasks = [row["task"] for row in get_task("world-geneval").prompts(None, 1)]
    assert [tasks.count(t) for t in sorted(set(tasks))] == [100] * 6
    attacks = [row["attack"] for row in get_task("world-attack").prompts(None, 1)]
    assert [attacks.count(a) for a in sorted(set(attacks))] == [60] * 5
    assert len({row["seed"] for row in rows}) == 700


def test_judges_say_the_same_of_an_image_in_any_batch(judges: Harm):
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together, alone = judges.probabilities(images), judges.probabilities(images[3:4])[0]
    assert list(together[3].values()) == pytest.approx(list(alone.values()), abs=1e-5)
    assert sum(alone.values()) == pytest.approx(1, abs=1e-5)
    assert judges.judge(images)[1].shape == (5, 96)
    cosines = [found["cosine"] for found in Observer("cpu")(list(images), [{"prompt": "a red square"}] * 5)]
    assert np.abs(cosines).max() <= 1 + 1e-6
    assert 0 <= judges.recognisable(images) <= 1
