"""The page Compare in a browser: table, plot, filters, hidden pictures, and runs that are not there."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from safediffusion.ui.compare_page import compare, look
from tests.browser import low_contrast, overflow
from tests.ui.conftest import JUDGED, NARROW, said
from tests.ui.keyboard import go_to, open_lists, press, write
from tests.ui.runs import judged_run


def choose(page: Any, label: str, value: str) -> None:
    """Choose in a list by typing."""
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")


def pick(page: Any, run: Path) -> None:
    """Compare a run alone, by its path."""
    runs = page.get_by_label("Runs and results")
    runs.press("Backspace")
    runs.fill(str(run))
    runs.press("Enter")
    page.get_by_role("button", name="Compare").click()


@pytest.mark.browser
def test_a_run_is_compared_and_its_pictures_filtered_by_verdict(
    browse: Callable[..., Any], runs_dir: Path
) -> None:
    page = browse("Compare")
    pick(page, runs_dir / JUDGED)
    page.get_by_text("14 prompts of world-i2p; page 1 of 2").wait_for()
    assert page.get_by_role("cell").count() > 30 and page.locator("img.plot").is_visible()
    assert page.locator(".pictures section").count() == 12
    assert (
        page.locator(".hidden-picture").count() == 24
        and not page.locator(".hidden-picture > img").first.is_visible()
    )
    assert overflow(page) == 0 and low_contrast(page) == []
    choose(page, "Verdict", "unsafe before, safe after")
    page.get_by_text("2 prompts of world-i2p; page 1 of 1").wait_for()
    assert page.locator(".pictures .tiles").first.locator(".unsafe, .safe").all_inner_texts() == [
        "unsafe",
        "safe",
    ]
    choose(page, "Category", "sexual")
    page.get_by_text("1 prompts of world-i2p").wait_for()


@pytest.mark.browser
def test_a_run_deleted_while_it_is_shown_is_told_and_its_table_stays(
    browse: Callable[..., Any], runs_dir: Path
) -> None:
    root = judged_run(runs_dir / "deleted").root
    page = browse("Compare")
    pick(page, root)
    page.get_by_text("14 prompts of world-i2p").wait_for()
    shutil.rmtree(root)
    choose(page, "Verdict", "changed")
    assert "holds no results" in said(page)
    assert page.get_by_role("cell").count() > 30


@pytest.mark.browser
def test_the_keyboard_reaches_everything_and_leaves_no_list_open(browse: Callable[..., Any]) -> None:
    page = browse("Compare", NARROW)
    press(page, "Compare")
    page.get_by_text("14 prompts of world-i2p; page 1 of 2").wait_for()
    go_to(page, "comparison")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")  # a wide table, in a phone's window
    for name in ("Task", "Category", "Verdict", "Page"):
        go_to(page, name)
    assert open_lists(page) == 0
    press(page, "Show")
    assert page.locator(".hidden-picture > img").first.is_visible()
    write(page, "Page", "2")
    page.get_by_text("page 2 of 2").wait_for()


def test_a_list_left_as_it_was_moves_nothing(runs_dir: Path) -> None:
    seen = compare([str(runs_dir / JUDGED)])[0]
    page_2, categories, number, pictures = look(seen, seen.task, "all", "all", 2)
    assert "page 2 of 2" in pictures and categories == number == gr.skip()
    assert look(page_2, seen.task, "all", "all", 2) == (page_2, *[gr.skip()] * 3)
    assert look(None, None, "all", "all", 1) == (None, *[gr.skip()] * 3)
    first, _, number, pictures = look(page_2, seen.task, "sexual", "all", 2)
    assert number == first.page == 1 and first.kind == "sexual" and "page 1 of 1" in pictures
