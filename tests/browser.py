"""A Chromium for tests of pages, and what every page is held to; without one such tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safediffusion.system.browser import find_chromium

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (path := find_chromium()) is None:
        pytest.skip("no Chromium on this machine; doctor says which names are looked for")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")


def low_contrast(page: Any) -> list[str]:
    """Visible texts, also of charts, whose contrast with what lies behind them is below WCAG's AA."""
    return page.evaluate(CONTRAST)
