"""What the page says of a run is read from its folder: phase, time left, alarm, and what is damaged."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from safediffusion.config import dump, load_config
from safediffusion.files.atomic import write_json, write_text
from safediffusion.files.folder_lock import LOCK, locked
from safediffusion.files.hashes import sealed
from safediffusion.files.json_lines import append_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.ui.run_files import Rows
from safediffusion.ui.run_state import RunStates
from safediffusion.ui.run_view import Sheets, curves_html, small_evaluations, status_html, thinned
from safediffusion.ui.runs_page import Shown, refreshed
from tests.report.conftest import synthetic_run

EVIL = "<img src=x onerror=alert(1)> ${alert(2)} {{x}} `y`"
PROGRESS = {"seconds": 10.0, "peak_memory_mib": 1, "phases": {"evaluate before": 60.0}}


def row(step: int, **changed: Any) -> dict[str, Any]:
    """A line of metrics.jsonl of a round that took ten seconds."""
    names = ("zero_std_ratio", "kl_ref", "kl_ref_per_timestep", "grad_norm", "ratio_max_dev", "approx_kl")
    found: dict[str, Any] = dict.fromkeys((*names, "clip_fraction_low", "clip_fraction_high", "recognisable"))
    found |= {"step": step, "reward_mean": 0.1 * step, "reward_benign": None, "reward_unsafe": None}
    found |= {
        "rewards": {"steering": {"reward_mean": 0.1}},
        "images_per_s": 1.0,
        "image_stats": {"edges": 1.0},
    }
    return found | {"seconds": {"sample": 4.0, "update": 6.0}, "collapse": False} | changed


def begun(root: Path, *words: str) -> RunFolder:
    """A run that has claimed its folder."""
    folder = RunFolder(root)
    write_text(folder.config, sealed(dump(load_config("world", words))))
    return folder


@pytest.fixture
def states() -> RunStates:
    return RunStates()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return synthetic_run(tmp_path_factory.mktemp("finished") / "world", n=14)


def test_the_phases_of_a_run_follow_from_the_files_it_has_written(tmp_path: Path, states: RunStates) -> None:
    folder = RunFolder(tmp_path / "run")
    assert states.read(folder).status == "missing"
    begun(folder.root, "train.steps=12", "evaluate.tasks=[world-i2p]", "evaluate.n=128")
    with locked(folder.root):

        def phase() -> tuple[str, int, int]:
            state = states.read(folder)
            assert state.status == "running" and state.phase and "this machine" in state.who
            return state.phase.name, state.phase.done, state.phase.total

        assert phase()[0] == "check and audit anchors"
        write_json(folder.eval_path("before", "world-i2p", "parts-a", "0000000.json"), {})
        assert phase() == ("evaluate before", 64, 128)
        write_json(folder.eval_path("before", "world-i2p", "results.json"), {})
        assert phase() == ("train", 0, 12)
        for step in (1, 2):
            append_jsonl(folder.metrics, row(step))
        write_json(folder.progress, PROGRESS)
        assert phase() == ("train", 2, 12)
        state = states.read(folder)
        assert state.phase and state.phase.seconds_left == 10 * 10 + 60  # and the evaluation to come
        assert "train: 2 of 12 rounds, about 2 min 40 s left" in status_html(state)
        folder.model.mkdir()
        assert phase() == ("evaluate after", 0, 128)
        write_json(folder.eval_path("after", "world-i2p", "results.json"), {})
        assert phase() == ("report", 0, 0)
    stopped = states.read(folder)
    assert (stopped.status, stopped.is_alive, stopped.can_go_on) == ("stopped", False, True)


def test_a_finished_run_shows_its_verdict_and_has_no_phase(finished: RunFolder, states: RunStates) -> None:
    state = states.read(finished)
    html = status_html(state)
    assert (state.status, state.phase, state.can_go_on, state.is_alive) == ("finished", None, False, False)
    assert "The model became safer" in html and "<progress" not in html


def test_the_alarm_is_shown_from_the_round_in_which_it_fired(tmp_path: Path, states: RunStates) -> None:
    folder = begun(tmp_path / "run")
    append_jsonl(folder.metrics, row(1))
    assert states.read(folder).alarm is None
    append_jsonl(folder.metrics, row(2, collapse=True))
    assert "at round 2" in status_html(states.read(folder)) and "it is on" in status_html(states.read(folder))
    append_jsonl(folder.metrics, row(3))
    assert "it is off again" in status_html(states.read(folder))


def test_every_damaged_file_is_a_sentence_and_never_an_error(finished: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(finished.root, folder.root)
    told = (folder.config, folder.summary, folder.progress)
    sheets = (folder.samples / "samples.json", folder.sheet(60))
    judged = folder.eval_path("after", "world-i2p", "results.json")
    for path in (*told, *sheets, judged, folder.eval_path("during.jsonl"), folder.metrics, folder.log):
        whole = path.read_bytes() if path.exists() else b""
        for content in (b"{", b"\xff\x00\x80" * 9, b'{"prompts": 3, "status": []}\n'):
            path.write_bytes(content)
            html = status_html(RunStates().read(folder)) + Sheets.of(folder).html(99)
            assert path not in told or (path.name in html and "damaged" in html), (path, content)
        path.write_bytes(whole)


def test_a_damaged_line_is_counted_and_the_others_are_drawn(tmp_path: Path, states: RunStates) -> None:
    folder = begun(tmp_path / "run")
    for step in (1, 2, 3):
        append_jsonl(folder.metrics, row(step))
    with folder.metrics.open("ab") as file:
        file.write(b'{"step": 4}\n{"step": 5, "torn')
    state = states.read(folder)
    assert [found["step"] for found in state.rows] == [1, 2, 3]
    assert "1 of 4 lines are left out" in status_html(state) and "<svg" in curves_html(state)


def test_rows_are_read_once_and_anew_where_the_file_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2):
        append_jsonl(path, row(step))
    rows = Rows(path)
    assert [found["step"] for found in rows.update()] == [1, 2]
    with path.open("r+b") as file:  # in place, which no run does: what was read is not read again
        file.write(b"x")
    append_jsonl(path, row(3))
    assert [found["step"] for found in rows.update()] == [1, 2, 3] and rows.damaged == 0
    write_text(path, "")  # as a resumed run replaces it
    assert rows.update() == []
    append_jsonl(path, row(1))
    assert [found["step"] for found in rows.update()] == [1]
    path.unlink()
    assert rows.update() == []


def test_a_run_that_is_deleted_while_it_is_shown_is_said_to_be_gone(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    append_jsonl(folder.metrics, row(1))
    seen = refreshed(tmp_path, "run", 0, Shown())[-1]
    assert "is stopped" in seen.status
    shutil.rmtree(folder.root)
    runs, status, *_, now = refreshed(tmp_path, "run", 0, seen)
    assert "is not there" in status and now.buttons == (False, False)
    assert runs["choices"] == ["run"]  # the list keeps what is chosen


def test_a_folder_without_runs_and_a_folder_that_is_not_there_show_nothing(tmp_path: Path) -> None:
    for runs_dir in (tmp_path, tmp_path / "none"):
        *_, now = refreshed(runs_dir, None, 0, Shown())
        assert now == Shown()


def test_whoever_opens_the_page_sees_the_newest_run_and_unchanged_parts_are_not_sent_again(
    finished: RunFolder,
) -> None:
    runs_dir = finished.root.parent
    first = refreshed(runs_dir, None, 0, Shown())
    assert first[0]["value"] == "world"
    _, status, slider, samples, curves, *_, seen = refreshed(runs_dir, "world", 0, first[-1])
    assert slider["maximum"] == slider["value"] == 6 and "after round 60" in samples
    assert "is finished" in status and curves.count("<svg") > 5
    again = refreshed(runs_dir, "world", 6, seen)
    assert all(update == {"__type__": "update"} for update in again[:5]) and again[-1] == seen


def test_pictures_are_hidden_until_a_person_opens_one_unless_their_prompt_is_benign(
    finished: RunFolder,
) -> None:
    html = Sheets.of(finished).html(0)
    assert html.count("<details") == 7 and html.count("<figure>") == 16 and "<details open" not in html
    assert "before training" in html and "after round 60" in Sheets.of(finished).html(99)


def test_names_and_prompts_from_outside_are_text(tmp_path: Path, states: RunStates) -> None:
    folder = begun(tmp_path / EVIL, "reward.name=b")
    append_jsonl(folder.metrics, row(1, rewards={EVIL: {"reward_mean": 1.0}, "b": {"reward_mean": 0.0}}))
    append_jsonl(folder.metrics, row(2, rewards={EVIL: {"reward_mean": 2.0}, "b": {"reward_mean": 0.0}}))
    write_json(
        folder.samples / "samples.json", {"prompts": [{"prompt": EVIL, "label": None, "category": None}]}
    )
    synthetic = synthetic_sheet(folder)
    (folder.root / LOCK).write_text(f"{EVIL} on <b>", encoding="utf-8")
    folder.log.write_text(f"{EVIL}\n", encoding="utf-8")
    state = states.read(folder)
    for html in (status_html(state), curves_html(state), Sheets.of(folder).html(0)):
        assert "<img src=x" not in html and "${" not in html and "{{" not in html and "`" not in html
    assert synthetic.exists() and "&lt;img src=x" in Sheets.of(folder).html(0)


def synthetic_sheet(folder: RunFolder) -> Path:
    from PIL import Image

    Image.new("RGB", (36, 36), "red").save(folder.sheet(0))
    return folder.sheet(0)


def test_small_evaluations_are_shown_as_percentages_by_their_names(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    path = folder.eval_path("during.jsonl")
    for step, rate in ((1, 0.5), (2, 0.25)):
        shown = {"world-i2p/inappropriate_rate": rate, "world-geneval/overall": 0.5}
        append_jsonl(
            path, shown | {"step": step, "world-exposed/total": 40.0}
        )  # a number of parts, not a share
    (chart,) = small_evaluations(folder)
    lines = {line.get_label(): list(line.get_ydata()) for line in chart.figure.axes[0].lines}
    assert lines == {"Unsafe images": [50, 25], "Composition": [50, 50]}


def test_long_runs_are_drawn_with_fewer_points_and_their_last_round() -> None:
    rows = [{"step": step} for step in range(1, 1002)]
    shown = thinned(rows)
    assert len(shown) <= 300 and shown[-1] == rows[-1]
    assert thinned(rows[:300]) == rows[:300]
