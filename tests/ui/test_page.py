"""The page as a whole: four tabs, nothing from elsewhere, readable, no wider than a phone."""

import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

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
