"""Writes the screenshots of the page in the browser, docs/images/ui-*.png, from a folder of runs of World.

    safediffusion train world
    safediffusion evaluate runs/world --baseline world --tasks world-i2p,world-geneval --limit 42 \
        --save-images --out runs/judged
    python docs/screens.py runs

It needs a Chromium; `safediffusion doctor` says whether one is found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from safediffusion.system.browser import find_chromium

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1280, "height": 1000}
WAIT = 600_000  # milliseconds
HEIGHT = 1900  # pixels that are kept of a longer page


def draw_prompts(page: Any, runs_dir: Path) -> None:
    """Prompts on World and on the run, one of the hidden pictures opened."""
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("4 of 4 pictures").wait_for()
    page.locator(".hidden-picture summary").last.click()


def compare_results(page: Any, runs_dir: Path) -> None:
    """The baseline and the run, at the pictures of changed verdicts."""
    chosen = page.get_by_label("Runs and results")
    chosen.press("Backspace")
    for name in ("world", "runs-world-model"):
        chosen.fill(str(runs_dir / "judged" / name))
        chosen.press("Enter")
    chosen.press("Escape")  # the list lies over the button
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("page 1 of").wait_for()
    verdict = page.get_by_label("Verdict", exact=True)
    verdict.fill("changed")
    verdict.press("Enter")
    page.get_by_text("page 1 of").wait_for()


def measure_policy(page: Any, runs_dir: Path) -> None:
    """The anchors of the recipe `world`, checked and audited."""
    page.get_by_role("button", name="Check", exact=True).click()
    page.locator("#policy-check .card svg").nth(1).wait_for()
    page.get_by_role("button", name="Audit for bias").click()
    page.locator("#policy-audit table").wait_for()


def watch_run(page: Any, runs_dir: Path) -> None:
    """The newest run."""
    page.locator("#run-curves svg").first.wait_for()
    page.locator("#run-samples img").first.wait_for()


SCREENS: dict[str, Callable[[Any, Path], None]] = {
    "try": draw_prompts,
    "policy": measure_policy,
    "runs": watch_run,
    "compare": compare_results,
}


@contextmanager
def served(runs_dir: Path) -> Iterator[str]:
    """The address of the page, served by a process of its own."""
    command = [sys.executable, "-m", "safediffusion", "ui", str(runs_dir), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()


def main() -> None:
    """Write the screenshots of all pages, or of those that are named."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs_dir", type=Path)
    parser.add_argument("--pages", nargs="+", choices=SCREENS, default=list(SCREENS))
    words = parser.parse_args()
    with served(words.runs_dir) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for name in words.pages:
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(WAIT)
            page.goto(url)
            page.get_by_role("tab", name=name.capitalize(), exact=True).click()
            SCREENS[name](page, words.runs_dir)
            page.wait_for_timeout(1000)  # until nothing moves any more
            path = IMAGES / f"ui-{name}.png"
            page.screenshot(path=path, full_page=True)
            with Image.open(path) as shot:
                kept = shot.convert("RGB").crop((0, 0, shot.width, min(shot.height, HEIGHT)))
            kept.quantize(256).save(path, optimize=True)  # a page has few colours, and the file stays small
            print(path, f"{path.stat().st_size // 1024} KiB")
        browser.close()


if __name__ == "__main__":
    main()
