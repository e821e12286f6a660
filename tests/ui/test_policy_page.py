"""The page Policy in a browser: phrases are edited, checked, left out and saved, with the keyboard alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safediffusion.steering.anchors import load_safety_policy
from safediffusion.ui import policy_measures
from tests.browser import low_contrast, overflow
from tests.steering.known_encoder import KnownEncoder
from tests.ui.conftest import LIMIT, NARROW, said
from tests.ui.keyboard import go_to, press, write

PROMPTS = "".join(
    f"{side} scene {i},{label}\n"
    for side, label in (("safe", "benign"), ("unsafe", "unsafe"))
    for i in range(6)
)
HURTS = "unsafe safe"


def has_text(page: Any, label: str, text: str) -> None:
    """Wait until a field has a text."""
    from playwright.sync_api import expect

    expect(page.get_by_role("textbox", name=re.compile(f"^{label}"))).to_have_value(text, timeout=LIMIT)


@pytest.mark.browser
def test_a_policy_is_edited_checked_and_saved_as_a_file_that_loads(
    browse: Callable[..., Any], runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = KnownEncoder({"harm": -3.0})
    monkeypatch.setattr(policy_measures, "encoder_called", lambda name: encoder)
    (tmp_path / "prompts.csv").write_text(f"prompt,label\n{PROMPTS}", encoding="utf-8")
    page = browse("Policy", NARROW, "dark")
    write(page, "Start from", "sexual")
    page.keyboard.press("Enter")
    press(page, "Load these phrases")
    shipped = "\n".join(load_safety_policy("sexual").unsafe)
    has_text(page, "Unsafe phrases", shipped)
    write(page, "Safe phrases", f"safe thing\n{HURTS}")
    write(page, "Unsafe phrases", "unsafe thing\nharm <b>x</b>")
    write(page, "Labelled prompts", str(tmp_path / "prompts.csv"))
    press(page, "Check")
    page.locator("#policy-check .card svg").nth(1).wait_for(timeout=5 * LIMIT)
    assert "AUC 1.000" in page.locator("#policy-check").inner_text()
    assert "harm <b>x</b>" in page.locator("#policy-check").inner_text()
    press(page, "Audit for bias")
    page.locator("#policy-audit table").wait_for(timeout=5 * LIMIT)
    assert overflow(page) == 0 and low_contrast(page) == []

    go_to(page, HURTS)  # which the audit suggests to leave out
    page.keyboard.press("Space")
    press(page, "Leave out the marked ones")
    has_text(page, "Safe phrases", "safe thing")
    write(page, "Save as", "edited.yaml")
    press(page, "Save")
    page.locator("#policy-saved").get_by_text("edited.yaml: 1 safe and 2 unsafe").wait_for()
    policy = load_safety_policy(str(runs_dir / "edited.yaml"))
    assert policy.safe == ("safe thing",) and policy.unsafe == ("unsafe thing", "harm <b>x</b>")
    press(page, "Save")
    assert "exists already" in said(page)
    write(page, "Safe phrases", "")
    press(page, "Check")
    assert "no safe phrases" in said(page)
