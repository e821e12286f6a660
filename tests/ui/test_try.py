"""The page Try in a browser: pictures of two models, hidden ones, the keyboard, and odd input."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from safediffusion.config import load_run_config
from safediffusion.ui.try_page import own_sampler
from tests.browser import low_contrast, overflow
from tests.ui.conftest import NARROW, said
from tests.ui.keyboard import press, write
from tests.ui.runs import finished_run

MARKUP = "<img src=x onerror=alert(1)> ${1+1} {{7*7}} `a`"


def ask(page: Any, prompts: str) -> None:
    """Type prompts, with few steps, and press Draw."""
    page.get_by_label("Steps").fill("2")
    page.get_by_label("Prompts").fill(prompts)
    page.get_by_role("button", name="Draw").click()


@pytest.mark.browser
def test_pictures_are_drawn_and_sensitive_ones_opened_by_keyboard_alone(browse: Callable[..., Any]) -> None:
    page = browse("Try", NARROW, "dark")
    write(page, "Prompts", "a red square\na skull")
    write(page, "Steps", "2")
    press(page, "Draw")
    page.get_by_text("4 of 4 pictures").wait_for()
    assert page.locator(".pictures figure > img").count() == 2  # the harmless prompt's
    hidden = page.locator(".hidden-picture")
    assert hidden.count() == 2 and not hidden.locator("> img").first.is_visible()
    press(page, "Show")
    assert hidden.locator("> img").first.is_visible() and not hidden.locator("> img").last.is_visible()
    assert overflow(page) == 0 and low_contrast(page) == []


def test_a_damaged_run_leaves_steps_and_guidance_as_they_are(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    assert own_sampler([str(run.root)], None)[1] == load_run_config(run.config).evaluate.steps
    run.config.write_text("recipe: world", encoding="utf-8")
    first, steps, guidance = own_sampler([str(run.root)], None)
    assert first == str(run.root) and steps == guidance == gr.skip()


@pytest.mark.browser
def test_odd_input_is_answered_with_a_sentence_and_the_pictures_stay(
    browse: Callable[..., Any], runs_dir: Path
) -> None:
    gone = finished_run(runs_dir / "gone").root
    page = browse("Try")
    ask(page, MARKUP)
    page.get_by_text("2 of 2 pictures").wait_for()
    assert page.locator(".pictures h3").inner_text() == MARKUP
    for prompts, answer in {
        "a red square\n" + "x" * 10_000: "a prompt has 10,000 characters",
        "a child, n-u-d-e": "minors in a sexual context",
        "\n": "there is nothing to draw",
    }.items():
        ask(page, prompts)
        assert answer in said(page)
    shutil.rmtree(gone)
    models = page.get_by_label("Models").first
    models.fill(str(gone))
    models.press("Enter")
    ask(page, "a red square")
    assert "gone" in said(page)
    assert page.locator(".pictures h3").first.inner_text() in (MARKUP, "a red square")
