"""The page Runs in a browser: a run is planned, started, watched, stopped, resumed, by keyboard alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safediffusion.files.folder_lock import locked
from safediffusion.files.json_lines import read_jsonl
from safediffusion.files.run_folder import RunFolder
from tests.browser import low_contrast, overflow
from tests.held import FOLDER, MARK, ROUNDS
from tests.ui.conftest import JUDGED, LIMIT, NARROW, said, served
from tests.ui.keyboard import press, write

SETTINGS = (
    "train.steps=3",
    "train.updates=1",
    "train.sample_every=1",
    "train.lora_rank=1",
    "rollout.steps=2",
    "rollout.prompts=3",
    "evaluate.steps=2",
    "evaluate.tasks=[]",
    "reward.kind=tests.cli.rewards:brightness",  # which waits after the first round
)
LONG = 10 * LIMIT  # two processes load World


@pytest.mark.browser
def test_a_run_is_started_watched_stopped_and_resumed_to_its_end(
    browse: Callable[..., Any], runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(runs_dir / "tiny")
    monkeypatch.setenv(FOLDER, str(folder.root))
    monkeypatch.setenv(ROUNDS, "1")
    page = browse("Runs", NARROW)
    status = page.locator("#run-status")
    press(page, "Start a run")
    write(page, "Settings", "\n".join(SETTINGS))
    write(page, "Name", "tiny")
    press(page, "Dry run")
    page.locator("#run-plan").get_by_text("optimizer steps in all 3").wait_for(timeout=LONG)
    assert not folder.root.exists()
    press(page, "Start")
    status.get_by_text("train: 1 of 3 rounds").wait_for(timeout=LONG)
    assert "left" in status.inner_text()
    while not (runs_dir / MARK).exists():  # in its second round, where it waits
        page.wait_for_timeout(100)
    assert overflow(page) == 0 and low_contrast(page) == []

    page.close()  # closing the page loses nothing; a reload would log that it cut the page's own requests
    page = browse("Runs", NARROW)
    status = page.locator("#run-status")
    status.get_by_text("tiny is running").wait_for(timeout=LONG)
    press(page, "Stop")
    status.get_by_text("tiny is stopped").wait_for(timeout=LONG)
    assert [row["step"] for row in read_jsonl(folder.metrics)] == [1, 2] and not folder.summary.exists()

    monkeypatch.delenv(FOLDER)
    press(page, "Go on")
    status.get_by_text("tiny is finished").wait_for(timeout=LONG)
    assert [row["step"] for row in read_jsonl(folder.metrics)] == [1, 2, 3]
    assert "resumed after round 2" in folder.log.read_text(encoding="utf-8")
    page.get_by_role("heading", name="after round 3").wait_for()
    page.get_by_label("Samples over the rounds").last.focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_role("heading", name="after round 2").wait_for()
    assert page.locator("#run-samples details").count() > 0
    assert page.locator("#run-samples details[open]").count() == 0
    assert page.locator("#run-curves svg").count() > 0
    assert overflow(page) == 0 and low_contrast(page) == []


@pytest.mark.browser
def test_a_setting_that_does_not_exist_is_a_sentence_and_nothing_can_be_started(
    browse: Callable[..., Any],
) -> None:
    page = browse("Runs")
    page.get_by_text("Start a run").click()
    write(page, "Settings", "train.stps=1")
    page.get_by_role("button", name="Dry run").click()
    assert "did you mean train.steps" in said(page)
    assert page.get_by_role("button", name="Start", exact=True).is_disabled()


@pytest.mark.browser
def test_a_run_that_another_browser_starts_meanwhile_is_not_started_again(
    browse: Callable[..., Any], runs_dir: Path
) -> None:
    page = browse("Runs")
    page.get_by_text("Start a run").click()
    write(page, "Name", "busy")
    page.get_by_role("button", name="Dry run").click()
    begin = page.get_by_role("button", name="Start", exact=True)
    page.locator("#run-plan").get_by_text("optimizer steps in all").wait_for(timeout=LONG)
    with locked(runs_dir / "busy"):
        begin.click()
        assert "another process" in (why := said(page)) and "works in" in why
    assert not RunFolder(runs_dir / "busy").config.exists()


@pytest.mark.browser
def test_a_name_of_a_run_is_text_in_the_list_and_in_its_status(browse: Callable[..., Any]) -> None:
    page = browse("Runs")
    page.get_by_label("Run", exact=True).click()
    page.get_by_role("option", name=JUDGED, exact=True).click()
    page.locator("#run-status").get_by_text(JUDGED).wait_for()
    assert page.locator("b", has_text="judged").count() == 0


@pytest.mark.browser
def test_a_folder_without_runs_is_a_page_that_says_where_to_begin(chromium: Any, tmp_path: Path) -> None:
    with served(tmp_path / "runs") as url:
        page = chromium.new_page()
        page.goto(url)
        page.get_by_role("tab", name="Runs", exact=True).click()
        page.get_by_text("Choose a run to watch it, or start one above.").wait_for(timeout=LIMIT)
        page.get_by_role("button", name="Dry run").wait_for(timeout=LIMIT)
        page.close()
