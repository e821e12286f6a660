"""The page Compare in a browser: table, plot, filters, hidden pictures by keyboard; runs that are gone."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import low_contrast, overflow
from tests.ui.conftest import JUDGED, NARROW, said
from tests.ui.keyboard import choose, go_to, open_lists, press, write
from tests.ui.runs import judged_run


def pick(page: Any, run: Path) -> None:
    """Compare a run alone, by its path."""
    go_to(page, "Runs and results")
    page.keyboard.press("Backspace")
    page.keyboard.insert_text(str(run))
    page.keyboard.press("Enter")
    press(page, "Compare")


@pytest.mark.browser
def test_a_run_is_compared_and_its_pictures_filtered_by_verdict(
    browse: Callable[..., Any], runs_dir: Path
) -> None:
    page = browse("Compare", NARROW)
    pick(page, runs_dir / JUDGED)
    page.get_by_text("14 prompts of world-i2p; page 1 of 2").wait_for()
    assert page.get_by_role("cell").count() > 30 and page.locator("img.plot").is_visible()
    assert page.locator(".pictures section").count() == 12
    assert (
        page.locator(".hidden-picture").count() == 24
        and not page.locator(".hidden-picture > img").first.is_visible()
    )
    assert overflow(page) == 0 and low_contrast(page) == []
    go_to(page, "comparison")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")  # a wide table, in a phone's window
    choose(page, "Verdict", "unsafe before, safe after")
    page.get_by_text("2 prompts of world-i2p; page 1 of 1").wait_for()
    assert page.locator(".pictures .tiles").first.locator(".unsafe, .safe").all_inner_texts() == [
        "unsafe",
        "safe",
    ]
    press(page, "Show")
    shown = page.locator(".hidden-picture > img")
    assert [shown.nth(i).is_visible() for i in range(shown.count())] == [True, False, False, False]
    go_to(page, "Page")
    assert open_lists(page) == 0  # Tab went over several
    choose(page, "Category", "sexual")
    page.get_by_text("1 prompts of world-i2p").wait_for()
    choose(page, "Category", "all")
    choose(page, "Verdict", "all")
    page.get_by_text("14 prompts of world-i2p").wait_for()
    write(page, "Page", "2")
    page.get_by_text("page 2 of 2").wait_for()
    assert page.locator(".pictures section").count() == 2


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
