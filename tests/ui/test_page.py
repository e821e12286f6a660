"""The page as a whole: four tabs, nothing from elsewhere, readable, no wider than a phone."""

import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safediffusion.ui.app import build
from tests.browser import low_contrast, overflow
from tests.ui.conftest import NARROW
from tests.ui.keyboard import press

TABS = ("Try", "Policy", "Runs", "Compare")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "colors"), [(1280, "light"), (NARROW, "dark")])
def test_every_tab_is_readable_and_fits_the_window(
    browse: Callable[..., Any], width: int, colors: str
) -> None:
    page = browse("Try", width, colors)
    for tab in TABS:
        press(page, tab)  # by the keyboard
        page.locator(f"#tab-{tab.lower()}").wait_for()
        assert overflow(page) == 0, tab
        assert low_contrast(page) == [], tab


def test_the_page_names_no_other_place_to_load_from(page_url: str) -> None:
    with urllib.request.urlopen(page_url) as answer:
        text, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:https?:)?//[^>]*>", text) == []
    assert 'analytics_enabled":false' in text.replace(" ", "")


def test_events_that_no_click_starts_go_without_the_queue(tmp_path: Path) -> None:
    events = build(tmp_path).config["dependencies"]
    asked = {"click", "input", "then", "success"}
    by_itself = [event for event in events if not {name for _, name in event["targets"]} <= asked]
    assert len(by_itself) == 4  # loading and the list of models, the tick, a run's settings, the encoder
    assert [event["queue"] for event in by_itself] == [False] * 4
