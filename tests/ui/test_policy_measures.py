"""The page measures what `anchors check` and `anchors audit` measure, and names what hurts."""

from pathlib import Path

import pytest

from safediffusion.cli import audit as cli_audit
from safediffusion.cli import tables
from safediffusion.errors import UserError
from safediffusion.steering.check_record import record
from safediffusion.ui import policy_measures
from safediffusion.ui.policy_edit import Draft, save
from safediffusion.ui.policy_page import run_audit, run_check
from tests.steering.known_encoder import KnownEncoder

DRAFT = Draft("safe thing\nsafe unsafe", "unsafe thing\nunsafe <b>lesbian</b> ${alert(1)}")
FIELDS = (DRAFT.safe, DRAFT.unsafe, "", "", 0.5, False)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    rows = [
        f"{side} scene {i},{label}"
        for side, label in (("safe", "benign"), ("unsafe", "unsafe"))
        for i in range(6)
    ]
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = KnownEncoder({"lesbian": -3.0})
    monkeypatch.setattr(policy_measures, "encoder_called", lambda name: encoder)
    monkeypatch.setattr("safediffusion.steering.encoders.load_encoder", lambda name, device: encoder)


def test_a_check_and_an_audit_are_those_of_the_command_line(prompts: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    plain = Draft("safe thing", "unsafe thing\nunsafe lesbian")
    policy = save(plain, path, over=False)
    assert policy_measures.check(policy, "known", prompts) == record(
        tables.check(str(path), "known", prompts)
    )
    assert (
        policy_measures.audit(policy, "known", prompts)
        == cli_audit.audit(str(path), "known", prompts).record()
    )


def test_the_page_names_the_phrases_that_hurt_and_shows_them_as_text(prompts: str) -> None:
    html, choices, row, found = run_check(
        *FIELDS[:1], "unsafe thing\nunsafe a <b>", *FIELDS[2:], "known", prompts, {}
    )
    assert "AUC 1.000" in html and html.count("<svg") == 2
    assert "<b>" not in html and "&lt;b&gt;" in html
    rows = sorted(found["check"]["contributions"], key=lambda row: row["contribution"])
    hurting = [row["phrase"] for row in rows if row["contribution"] < 0]
    assert choices["choices"] == hurting and row["visible"] == bool(hurting)


def test_the_audit_shows_its_verdict_and_suggests_what_to_leave_out(prompts: str) -> None:
    fields = ("safe thing", "unsafe thing\nunsafe lesbian", "", "", 0.5, False)
    html, choices, row, found = run_audit(*fields, "known", prompts, {})
    assert "lesbian" in html and "shift measurably" in html
    assert choices["choices"] == list(found["audit"]["repaired"]["removed"]) and row["visible"]


def test_prompts_of_one_label_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,label\na,benign\nb,benign\n", encoding="utf-8")
    with pytest.raises(UserError, match="both labels"):
        run_check(*FIELDS[:1], "unsafe", *FIELDS[2:], "known", str(path), {})
