"""What is missing, not finite, of one colour or damaged never makes a model look safer or better."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safediffusion.cli.sample import draw
from safediffusion.config import load_config
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.errors import RunError
from safediffusion.evaluation import failures, forms
from safediffusion.evaluation.detectors import DETECTORS, DetectorSet, Registered, fields_of
from safediffusion.evaluation.detectors.world import Harm
from safediffusion.evaluation.examiner import Examiner
from safediffusion.evaluation.failures import AllFailed, image_error
from safediffusion.evaluation.protocols import PROTOCOLS
from safediffusion.evaluation.results import (
    compare,
    read_results,
    rescore,
    shortfalls,
    write_records,
    write_results,
)
from safediffusion.evaluation.runner import EvaluationOptions, evaluate
from safediffusion.evaluation.tasks import TASKS, get_task
from safediffusion.files.atomic import write_json
from safediffusion.files.json_lines import append_jsonl
from safediffusion.report.metric_changes import metric_changes
from safediffusion.report.tables import comparison_table, markdown_table
from safediffusion.report.verdict import verdict
from safediffusion.training.recorder import Recorder
from tests.evaluation import seen
from tests.pipelines import tiny_pipeline

NAMES = sorted(TASKS)
NAN, INF = float("nan"), float("inf")
LISTS = ("nudenet", "nudenet-3.4.2", "objects", "detections", "exclude", "categories")  # may well be empty
WORDS = ("prompt", "case")  # any text will do


def damaged(value: Any, way: str) -> Any:
    """A value after an accident."""
    if way == "inside" and isinstance(value, dict):
        return value | {next(iter(value)): NAN}
    if way == "inside" and isinstance(value, list):
        return [damaged(value[0], way), *value[1:]] if value else NAN
    if way == "shorter" and isinstance(value, list | torch.Tensor | dict):
        return dict(list(value.items())[:-1]) if isinstance(value, dict) else value[:-1]
    others = {"nan": NAN, "inf": -INF, "none": None, "text": "x", "empty": {}, "list": []}
    return others.get(way, NAN)


WAYS = ("drop", "nan", "inf", "none", "text", "empty", "list", "inside", "shorter")


def can_be_seen(name: str, way: str) -> bool:
    """Whether an accident leaves something that cannot be sound."""
    if way in ("shorter", "list") and name in LISTS:
        return False
    if (name, way) in (("include", "shorter"), ("relation", "none")):
        return False
    return not (way in ("text", "shorter") and name in WORDS)


@given(
    task=st.sampled_from(NAMES),
    seed=st.integers(0, 3),
    which=st.lists(st.integers(0, 11), min_size=1, max_size=4, unique=True),
    way=st.sampled_from(WAYS),
    pick=st.integers(0, 99),
)
def test_a_damaged_record_never_improves_a_number_without_being_counted(task, seed, which, way, pick):
    good = seen.records(task, seed=seed)
    measures = get_task(task).measures
    names = sorted({need for m in measures for need in m.needs if need in good[0]})
    name = names[pick % len(names)]
    if not can_be_seen(name, way):
        return
    bad = copy.deepcopy(good)
    for i in which:
        if way == "drop":
            del bad[i][name]
        else:
            bad[i][name] = damaged(bad[i][name], way)
    before, after = get_task(task).score(good), get_task(task).score(bad)
    assert not before.failed
    worse_or_counted(before.metrics, after.metrics, len(after.failed))
    assert set(after.failed) == {str(bad[i]["index"]) for i in which}, (name, way, after.failed)
    json.dumps([after.metrics, after.unmeasured], allow_nan=False)


def worse_or_counted(before: dict, after: dict, failed: int) -> None:
    for name, metric in after.items():
        change = metric["value"] - before[name]["value"]
        better = {True: change > 0, False: change < 0, None: False}[metric["higher_is_better"]]
        assert failed or not better, name
    assert after["blank_rate"]["value"] >= before["blank_rate"]["value"]


@pytest.mark.parametrize("task", NAMES)
def test_sound_records_are_all_measured(task):
    scores = get_task(task).score(seen.records(task, n=84, seed=1))
    assert not scores.failed and not scores.unmeasured


@pytest.mark.parametrize("way", WAYS)
def test_a_reference_that_fails_leaves_no_distance(way):
    found = seen.records("fid")
    if way == "drop":
        del found[-1]["inception"]
    else:
        found[-1]["inception"] = damaged(found[-1]["inception"], way)
    scores = get_task("fid").score(found)
    assert not {"fid", "kid"} & set(scores.metrics) and not scores.failed
    assert scores.unmeasured["fid"] == "1 images of the reference failed"


def test_a_record_whose_error_got_lost_is_not_a_verdict():
    found = [{"index": i, "prompt": "", "seed": i, "error": "torn"} for i in range(3)]
    del found[1]["error"]
    assert len(get_task("world-i2p").score(found).failed) == 3


def test_a_group_that_failed_altogether_is_not_left_out_of_a_mean_of_groups():
    found = seen.records("geneval", n=24)
    for record in found:
        if record["task"] == "position":
            record["objects"] = None
    scores = get_task("geneval").score(found)
    assert "overall" not in scores.metrics
    assert scores.unmeasured["overall"] == "all images of position failed"


def picture() -> torch.Tensor:
    return torch.linspace(0, 1, 3 * 16 * 16).view(3, 16, 16)


BROKEN = {
    "nan": picture().index_put((torch.tensor([0]), torch.tensor([3]), torch.tensor([3])), torch.tensor(NAN)),
    "inf": picture() / 0,
    "black": torch.zeros(3, 16, 16),
    "nearly grey": torch.full((3, 16, 16), 0.5) + 0.01 * picture(),
    "flat colour": torch.tensor([0.9, 0.1, 0.4]).view(3, 1, 1).expand(3, 16, 16),
    "too bright": picture() * 1.5,
    "negative": picture() - 0.1,
    "grey": picture()[:1],
    "batch": picture()[None],
    "empty": torch.zeros(3, 0, 16),
    "none": None,
    "why": "torn.png: OSError",
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_is_not_a_picture_is_an_error(name):
    assert image_error(BROKEN[name])  # type: ignore[arg-type]


def test_a_picture_is_accepted_and_a_reference_may_have_one_colour():
    assert image_error(picture()) is None
    assert image_error(BROKEN["black"], blank=False) is None
    assert image_error(BROKEN["nan"], blank=False)


class Fake:
    """Says what sound records hold; or what a test wants it to."""

    def __init__(self, key: str) -> None:
        self.key, self.says = key, lambda fragment, row: fragment

    def __call__(self, images: Any, rows: Any) -> list[dict[str, Any]]:
        rng = seen.random.Random(0)
        return [
            self.says({name: seen.field(name, row, rng) for name in fields_of(self.key)}, row) for row in rows
        ]

    def describe(self) -> dict[str, Any]:
        return {"name": self.key}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Fake]]:
    """Every detector of every task, replaced."""
    found = {name: Fake(name) for name in DETECTORS}
    for name, fake in found.items():
        monkeypatch.setitem(DETECTORS, name, Registered(lambda device, fake=fake: fake, fields_of(name)))
    yield found


def records_of(
    task: str, pictures: list[Any], monkeypatch: pytest.MonkeyPatch | None = None
) -> list[dict[str, Any]]:
    found = get_task(task)
    return Examiner(DetectorSet("cpu").named(found.detectors), lambda rows: pictures)(
        seen.rows(task, len(pictures))
    )


@pytest.mark.parametrize("task", NAMES)
def test_broken_pictures_of_every_task_are_errors_and_no_detector_sees_them(task, fakes):
    shown = list(BROKEN.values())
    records = records_of(task, [picture(), *shown, picture()])
    assert [i for i, record in enumerate(records) if "error" not in record] == [0, len(shown) + 1]
    scores = get_task(task).score(records)
    assert len(scores.failed) == len(shown)
    assert scores.metrics["blank_rate"]["value"] == pytest.approx(len(shown) / len(records))


BAD_FRAGMENTS = {
    "nothing": lambda fragment: {},
    "no dictionary": lambda fragment: None,
    "another field": lambda fragment: {"other": 1.0},
    "nan": lambda fragment: dict.fromkeys(fragment, NAN),
    "nan inside": lambda fragment: {key: damaged(value, "inside") for key, value in fragment.items()},
    "none": dict.fromkeys,
    "text": lambda fragment: dict.fromkeys(fragment, "safe"),
}


@pytest.mark.parametrize("name", sorted({name for task in TASKS.values() for name in task.detectors}))
@pytest.mark.parametrize("bad", list(BAD_FRAGMENTS))
def test_a_fragment_that_is_not_sound_is_that_pictures_error(name, bad, fakes):
    task = next(t for t in NAMES if name in TASKS[t].detectors)
    fakes[name].says = lambda fragment, row: BAD_FRAGMENTS[bad](fragment) if row["index"] == 1 else fragment
    records = records_of(task, [picture()] * 3)
    assert ["error" in record for record in records] == [False, True, False]
    assert name in records[1]["error"]


def test_a_detector_that_fails_on_one_picture_judges_the_others(fakes, caplog):
    def says(fragment: dict, row: dict) -> dict:
        if row["index"] == 2:
            raise ZeroDivisionError("odd image")
        return fragment

    fakes["world-harm"].says = says
    records = records_of("world-i2p", [picture()] * 4)
    assert [record.get("error") for record in records] == [
        None, None, "world-harm failed: ZeroDivisionError: odd image", None
    ]  # fmt: skip
    assert "world-harm failed on 1 of 4 images" in caplog.text


def test_too_few_fragments_are_not_given_to_the_wrong_pictures(fakes, monkeypatch):
    monkeypatch.setattr(Fake, "__call__", lambda self, images, rows: [{"harm": {}}])
    assert all("error" in record for record in records_of("world-i2p", [picture()] * 3))


def test_too_little_memory_for_one_picture_ends_the_run(fakes):
    def says(fragment: dict, row: dict) -> dict:
        raise torch.OutOfMemoryError

    fakes["world-harm"].says = says
    with pytest.raises(RunError, match="too little memory"):
        records_of("world-i2p", [picture()] * 2)


SAFETY = [
    name
    for name, task in TASKS.items()
    if {"harm", "parts", "nudenet", "q16"} & {need for m in task.measures for need in m.needs}
]


@pytest.mark.parametrize("name", SAFETY)
def test_no_safety_number_stands_without_prompt_match_and_blank_share(name):
    task = get_task(name)
    assert {"clip_t", "blank_rate"} <= {measure.name.split("/")[0] for measure in task.measures}
    assert {"clip", "world-observer"} & set(task.detectors)


def test_every_protocol_and_harm_task_counts_as_a_safety_task():
    assert {"i2p", "i2p-official", "i2p-schedulers", "attack", "images", "schedulers"} <= set(SAFETY)
    assert {"world-i2p", "world-exposed", "world-attack", "world-benign"} <= set(SAFETY)
    assert set(PROTOCOLS) <= {m.name for m in get_task("images").measures}


BRIEFLY = EvaluationOptions(n=4, seed=3, steps=2, guidance=2.0, on_progress=lambda a, b: None)


@pytest.fixture
def broken_model() -> StableDiffusion:
    """A model with one weight that is not a number."""
    pipeline = tiny_pipeline()
    with torch.no_grad():
        next(p for name, p in pipeline.unet.named_parameters() if name.endswith("bias"))[0] = NAN
    return StableDiffusion(pipeline, "cpu")


def test_a_model_that_draws_nan_is_called_neither_safe_nor_good(
    broken_model: StableDiffusion, judges: Harm, tmp_path: Path
):
    tasks = ["world-i2p", "world-exposed"]
    with pytest.raises(AllFailed, match="all 4 images failed") as error:
        evaluate(broken_model, tasks, tmp_path, BRIEFLY)
    assert all(name in str(error.value) for name in tasks)
    for name, stored in read_results(tmp_path).items():
        results = stored.results
        assert results["n_failed"] == results["n"] == 4
        assert {k: v["value"] for k, v in results["metrics"].items()} == {"blank_rate": 1}
        assert results["unmeasured"]["clip_t"] == "no image could be judged", name
    with pytest.raises(AllFailed):  # again, and not taken for finished
        evaluate(broken_model, tasks, tmp_path, BRIEFLY)
    with pytest.raises(AllFailed):
        rescore(tmp_path)


def test_sample_writes_no_picture_that_is_not_finite(
    broken_model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("safediffusion.diffusion.load.load_model", lambda *args, **kwargs: broken_model)
    with pytest.raises(RunError, match="nan or infinity"):
        draw("world", ["a red square"], 0, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_latent_that_is_not_finite_is_not_decoded_to_white_or_black(diffuser: StableDiffusion, value):
    latents = torch.zeros(3, *diffuser.latent_shape)
    latents[1, 0, 0, 0] = value
    images = diffuser.decode(latents)
    assert images[[0, 2]].isfinite().all() and images[1].isnan().all()


def test_files_hold_no_nan(tmp_path: Path):
    write_json(tmp_path / "a.json", {"x": NAN, "y": [INF, 1.0], "z": (1, {"w": -INF})})
    append_jsonl(tmp_path / "b.jsonl", {"x": NAN})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "x": None,
        "y": [None, 1],
        "z": [1, {"w": None}],
    }
    assert json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8")) == {"x": None}


def stored(folder: Path, found: list[dict[str, Any]], task: str) -> None:
    write_records(folder / task, found)
    scores = get_task(task).score(found)
    head = {"task": task, "version": 1, "n": len(found), "n_failed": len(scores.failed)}
    write_results(folder / task, head | {"failed": scores.failed, "metrics": scores.metrics})


@pytest.mark.parametrize("task", ["world-i2p", "images", "geneval"])
def test_a_comparison_leaves_out_rows_that_failed_on_either_side_and_says_how_many(task, tmp_path: Path):
    a, b = seen.records(task, n=24, seed=0), seen.records(task, n=24, seed=1)
    b[3] = {key: b[3][key] for key in ("index", "prompt", "seed", "task", "category") if key in b[3]} | {
        "error": "torn"
    }
    stored(tmp_path / "a", a, task)
    stored(tmp_path / "b", b, task)
    for name, row in compare(tmp_path / "a", tmp_path / "b")[task].items():
        assert row["n_failed"] == [0, 1]
        assert row["n"] <= (24 if name == "blank_rate" else 23)
        assert all(isinstance(row[key], int | float) for key in ("difference", "ci_low", "ci_high"))


def test_a_round_with_failures_or_nan_is_not_the_best(tmp_path: Path):
    recorder = object.__new__(Recorder)
    recorder.config = load_config(
        "world", ["train.keep_best=-world-i2p/inappropriate_rate", "evaluate.during_every=10"]
    )
    name = "world-i2p/inappropriate_rate"
    assert recorder.score({name: 0.25, "world-i2p/blank_rate": 0.0}) == -0.25
    assert recorder.score({name: 0.25, "world-geneval/blank_rate": 0.5}) == -0.25
    assert recorder.score({name: 0.0, "world-i2p/blank_rate": 0.1}) is None
    assert recorder.score({name: NAN}) is None and recorder.score({"other": 1.0}) is None


def test_tables_and_verdicts_show_what_failed(tmp_path: Path):
    good, bad = seen.records("world-i2p", n=84, seed=0), seen.records("world-i2p", n=84, seed=1)
    for record in bad[:5]:
        record["harm"] = {}
    stored(tmp_path / "a", good, "world-i2p")
    stored(tmp_path / "b", bad, "world-i2p")
    sheet = comparison_table([tmp_path / "a", tmp_path / "b"])
    assert sheet.failed.keys() == {"world-i2p"} and sheet.failed["world-i2p"].endswith("b: 5")
    assert "b: 5" in markdown_table(sheet)
    said = verdict(metric_changes(tmp_path / "a", tmp_path / "b"), {"status": "finished"})
    assert said.tone != "good" and "per task failed before and 5 after" in said.sentences[0]
    assert any("5 of 84 images failed" in line for line in shortfalls([tmp_path / "b"]))


def test_the_forms_know_every_field_that_detectors_give():
    assert {field for detector in DETECTORS.values() for field in detector.fields} == set(forms.SEEN)
    assert pytest.approx(4 / 255) == failures.BLANK
