"""What the pages are made of: text as text, errors as sentences, hidden pictures, models, lists of runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from safediffusion.config.inputs import PromptsConfig
from safediffusion.config.schema import EvaluateConfig
from safediffusion.errors import RunError, UserError
from safediffusion.evaluation.verdicts import Judged
from safediffusion.prompts.select import load_prompts
from safediffusion.ui import loaded
from safediffusion.ui.compare_page import CHANGED, LESS_SAFE, SAFER, columns_of, matches
from safediffusion.ui.errors import as_sentence, html_text
from safediffusion.ui.found import finished_runs, judged, run_folders
from safediffusion.ui.pictures import Picture, row_html
from safediffusion.ui.sensitive import is_sensitive
from safediffusion.ui.try_page import choices, first_choice, request
from safediffusion.ui.verdicts import picture_file, shared_tasks
from tests.ui.runs import finished_run, judged_run


def fails(error: Exception) -> Callable[..., Any]:
    def handler() -> None:
        raise error

    return handler


@pytest.mark.parametrize("kind", [UserError, RunError])
def test_errors_become_sentences_whose_markup_is_text(kind: type[Exception]) -> None:
    with pytest.raises(gr.Error) as found:
        as_sentence(fails(kind("no <b>run</b>\nhere")))()
    assert found.value.message == r"no &lt;b&gt;run&lt;/b&gt;&#92;nhere"
    assert not found.value.print_exception and found.value.duration is None


def test_an_error_in_the_middle_of_a_stream_and_a_surprise_are_sentences_too() -> None:
    def stream() -> Any:
        yield 1
        raise ZeroDivisionError("division by zero")

    steps = as_sentence(stream)()
    assert next(steps) == 1
    with pytest.raises(gr.Error, match="division by zero"):
        next(steps)


def test_text_from_outside_starts_no_tag_and_no_template() -> None:
    assert not set(html_text("<a href='x' b=\"y\">${1}{{2}}`\\\u202e\x1b")) & set("<>\"'${}`\\\u202e\x1b")


def test_world_s_own_prompts_are_told_apart_and_unknown_words_are_sensitive() -> None:
    rows = load_prompts(PromptsConfig(path="world")).rows
    assert {row.label for row in rows if is_sensitive(row.text)} == {"unsafe"}
    assert {row.label for row in rows if not is_sensitive(row.text)} == {"benign"}
    assert is_sensitive("a quux at the beach") and is_sensitive("...")
    assert not is_sensitive("A Red, SQUARE!")


def test_a_hidden_picture_lies_behind_a_blurred_one() -> None:
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    shown, hidden = (row_html("<b>", [Picture(image, "world", hidden=hide)]) for hide in (False, True))
    assert "<details" not in shown and shown.count("<img") == 1 and "<b>" not in shown
    stand_in, behind = hidden.split("</summary>")
    source = shown.split('src="')[1].split('"')[0]
    assert source in behind and source not in stand_in


def test_a_model_is_loaded_once_and_again_after_it_was_trained_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[str] = []
    monkeypatch.setattr(loaded, "load_changed", lambda name, config, changes: found.append(name) or name)
    models, run = loaded.LoadedModels(most=2), str(finished_run(tmp_path / "run").root)
    for name in ("world", run, "world", run):
        assert models._get(name, None) == name
    assert found == ["world", run]
    (tmp_path / "run/model/model_index.json").write_text("{}", encoding="utf-8")
    models._get(run, None)
    models._get("world+sld-strong", None)  # the one that was used longest ago makes room
    models._get(run, None)
    models._get("world", None)
    assert found == ["world", run, run, "world+sld-strong", "world"]


def test_where_memory_is_short_the_other_models_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    models = loaded.LoadedModels()

    def load(name: str, config: Any, changes: Any) -> str:
        if models._kept:
            raise MemoryError
        return name

    monkeypatch.setattr(loaded, "load_changed", load)
    assert [models._get(name, None) for name in ("world", "world+negative")] == ["world", "world+negative"]
    assert len(models._kept) == 1


def test_lists_show_runs_and_results_and_bear_a_folder_that_is_not_there(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert (run_folders(runs), judged(runs), first_choice(runs)) == ([], [], ["world", "world+sld-strong"])
    finished, evaluated = finished_run(runs / "finished").root, judged_run(runs / "group/evaluated").root
    shutil.copytree(evaluated / "eval/after", runs / "results/one")
    shutil.copytree(evaluated / "eval/after", evaluated / "eval/strength-0.5")
    assert finished_runs(runs) == [str(finished)] and str(finished) in choices(runs)
    assert judged(runs) == [str(evaluated), str(evaluated / "eval/strength-0.5"), str(runs / "results/one")]
    assert {run.root for run in run_folders(runs)} == {finished, evaluated}


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"text": "\n "}, "nothing to draw"),
        ({"models": []}, "nothing to draw"),
        ({"text": "x" * 10_000}, "10,000 characters"),
        ({"text": "a\n" * 65}, "65 pictures"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**60}, "seeds from 0 to"),
        ({"models": ["world+nothing"]}, "no method"),
        ({"text": "a child, n-u-d-e"}, "minors"),
        ({"steps": 0}, "steps"),
        ({"guidance": -1}, "guidance"),
    ],
)
def test_a_request_is_checked_before_anything_is_loaded(change: dict[str, Any], answer: str) -> None:
    fields = {
        "text": "a red square",
        "models": ["world"],
        "seed": 0,
        "strength": 1,
        "steps": 2,
        "guidance": 3,
    }
    assert request(**fields).sampler == EvaluateConfig(steps=2, guidance=3)
    with pytest.raises(gr.Error, match=answer):
        as_sentence(lambda: request(**fields | change))()


def test_strength_is_of_runs_alone(tmp_path: Path) -> None:
    run = str(finished_run(tmp_path / "run").root)
    wanted = request("a", ["world", run], 0, 0.5, None, None)
    assert [wanted.strength_of(model) for model in wanted.models] == [None, 0.5]
    assert wanted.title(run) == f"{run}, strength 0.5"


def test_verdicts_change_from_the_first_column_to_any_other() -> None:
    def row(*unsafe: bool | None) -> Judged:
        return Judged({}, dict(zip("abc", unsafe, strict=False)))

    rows = [row(True, False), row(False, True), row(True, True, False), row(None, True)]
    found = {show: [matches(one, show) for one in rows] for show in ("all", CHANGED, SAFER, LESS_SAFE)}
    assert found == {
        "all": [True] * 4,
        CHANGED: [True, True, True, False],
        SAFER: [True, False, True, False],
        LESS_SAFE: [False, True, False, False],
    }


def test_a_linked_picture_is_not_shown(tmp_path: Path) -> None:
    task = judged_run(tmp_path / "run").eval_path("after", "world-i2p")
    assert picture_file(task, 0) == task / "images/00000.png" and picture_file(task, 99) is None
    (task / "images/00000.png").rename(tmp_path / "elsewhere.png")
    (task / "images/00000.png").symlink_to(tmp_path / "elsewhere.png")
    assert picture_file(task, 0) is None


def test_tasks_that_judge_harm_come_first_and_a_folder_without_results_is_told(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run").root
    assert shared_tasks(columns_of([str(run)]))[0] == "world-i2p"
    shutil.rmtree(run / "eval/after")
    with pytest.raises(UserError, match="holds no results; evaluate it"):
        columns_of([str(run)])
