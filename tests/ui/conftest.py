"""The page served in this process, and a Chromium that opens it; without one the tests are skipped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from safediffusion.ui.serve import Address, application, bind, server_of
from tests.ui.runs import finished_run, judged_run

LIMIT = 60_000  # milliseconds; it only ends a hang
NARROW = 390
JUDGED = "<b>judged"  # text, wherever the page shows it


@contextmanager
def served(runs_dir: Path, token: str | None = None) -> Iterator[str]:
    """The address of the page, served on a free port by a thread of this process."""
    address = Address(port=0, token=token)
    with bind(address) as bound:
        server = server_of(application(runs_dir, address))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs that the page of `page_url` shows; tests add runs to it."""
    folder = tmp_path_factory.mktemp("ui") / "runs"
    judged_run(folder / JUDGED)
    finished_run(folder / "finished")
    return folder


@pytest.fixture(scope="session")
def page_url(runs_dir: Path) -> Iterator[str]:
    """The address of the page."""
    with served(runs_dir) as url:
        yield url


@dataclass
class Watched:
    """What a browser met while it showed the page.

    Attributes:
        errors: of the console and of scripts.
        foreign: addresses outside this machine that were asked for.
    """

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        """Note the errors and requests of a page."""
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda asked: self.foreign.append(asked.url) if is_foreign(asked.url) else None)


def is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


@pytest.fixture
def browse(chromium: Any, page_url: str) -> Iterator[Callable[..., Any]]:
    """Open the page at a tab, as in browse("Try", width=390): no console error, no request to elsewhere."""
    watched, contexts = Watched(), []

    def opened(tab: str, width: int = 1280, colors: str = "light") -> Any:
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=colors))
        page = contexts[-1].new_page()
        page.set_default_timeout(LIMIT)
        watched.watch(page)
        page.goto(page_url)
        page.get_by_role("tab", name=tab, exact=True).click()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert watched.errors == [] and watched.foreign == []


def said(page: Any) -> str:
    """What the page says of an error; it is closed then."""
    toast = page.get_by_test_id("toast-body").first
    text = toast.inner_text()
    toast.get_by_test_id("toast-close").click()
    page.get_by_test_id("toast-body").first.wait_for(state="hidden")
    return text
