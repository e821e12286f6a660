"""The page as a whole: four tabs, nothing from elsewhere, readable, no wider than a phone."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.conftest import NARROW, low_contrast, overflow

TABS = ("Try", "Policy", "Runs", "Compare")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, NARROW])
def test_every_tab_is_readable_and_fits_the_window(browse: Callable[..., Any], width: int) -> None:
    page = browse("Try", width)
    for tab in TABS:
        page.get_by_role("tab", name=tab, exact=True).click()
        assert overflow(page) == 0, tab
        assert low_contrast(page) == [], tab
