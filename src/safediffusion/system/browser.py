"""A Chromium on this machine, which the tests of the page drive."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome in PATH; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)
