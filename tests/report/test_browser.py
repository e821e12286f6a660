"""The page in a browser: readable in light and dark, on a phone and on paper; one picture clear at a time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from safediffusion.config import dump, load_config
from safediffusion.files.atomic import write_text
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.report import write_report
from tests.browser import low_contrast, overflow
from tests.report.conftest import write_samples

pytestmark = pytest.mark.browser


@pytest.fixture
def show(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page file; at the end there was no console error and nothing was asked of the network."""
    said: list[str] = []
    contexts = []

    def opened(file: Path, width: int = 1280, scheme: str = "light") -> Any:
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: None if is_own(asked.url) else said.append(asked.url))
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def is_own(url: str) -> bool:
    return url.startswith(("file:", "data:"))


@pytest.fixture(scope="module")
def unsafe_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of another model than World that kept its samples as they are."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "<b>run")
    write_text(folder.config, dump(load_config(None, ["model.path=some/model", "evaluate.show_unsafe=true"])))
    write_samples(folder)
    return write_report(folder)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_readable_and_no_wider_than_the_window(
    show: Callable[..., Any], report_page: Path, width: int, scheme: str
) -> None:
    page = show(report_page, width, scheme)
    page.evaluate("document.querySelectorAll('details.fold').forEach(one => { one.open = true })")
    assert overflow(page) == 0
    assert low_contrast(page) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark == (scheme == "dark")


def test_rows_of_cards_are_full(show: Callable[..., Any], report_page: Path) -> None:
    page = show(report_page)
    gaps = page.evaluate(
        """[...document.querySelectorAll('.grid')].flatMap(grid => {
            const right = grid.getBoundingClientRect().right;
            const rows = Map.groupBy(grid.children, card => Math.round(card.getBoundingClientRect().top));
            return [...rows.values()].map(row => right - row.at(-1).getBoundingClientRect().right);
        })"""
    )
    assert len(gaps) > 10 and max(gaps) < 2


def test_paper_is_light_and_holds_the_tables_whole(show: Callable[..., Any], report_page: Path) -> None:
    page = show(report_page, 794, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')") == "#1d2126"
    assert not page.locator("nav").is_visible() and page.locator(".zoom img").first.is_visible()
    assert overflow(page) == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_click_enlarges_one_picture_and_escapes_by_another(
    show: Callable[..., Any], report_page: Path
) -> None:
    page = show(report_page)
    pictures = page.locator(".strip .zoom summary")
    small = pictures.first.locator("img").bounding_box()
    pictures.first.click()
    large = pictures.first.locator("img").bounding_box()
    assert small and large and large["width"] > 3 * small["width"]
    page.mouse.click(5, 5)  # beside the picture
    assert page.locator("details.zoom[open]").count() == 0


def test_pictures_of_unsafe_prompts_are_blurred_and_one_at_a_time_is_shown(
    show: Callable[..., Any], unsafe_page: Path
) -> None:
    with closing(show(unsafe_page)) as page:
        blurred = page.locator(".zoom:has(img.blurred)")
        assert blurred.count() == 7 * 4 and page.locator(".zoom img").count() == 16 * 4
        image = blurred.nth(0).locator("img")
        assert "blur" in image.evaluate("one => getComputedStyle(one).filter")
        blurred.nth(0).locator("summary").click()
        assert image.evaluate("one => getComputedStyle(one).filter") == "none"
        blurred.nth(1).locator("summary").focus()
        page.keyboard.press("Enter")
        assert "blur" in image.evaluate("one => getComputedStyle(one).filter")
        assert page.locator("details[open]").count() == 1
        assert page.locator("header").inner_text().count("<b>run") == 1
