"""Nothing from outside styles the terminal, moves in it, hides in it, or adds lines to a log."""

import logging
import shlex
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table

import safediffusion
from safediffusion.cli import commands
from safediffusion.cli.tables import describe
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.nudenet import PAPERS
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.session import log_file
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.check import AlphaPoint, Anchor, PolicyCheck
from safediffusion.system.image_sheets import captioned_sheet
from safediffusion.system.progress import progress
from safediffusion.text import strict_yaml, terminal
from safediffusion.text.escaping import plain
from tests.report.conftest import write_results

from .conftest import HOSTILE, SETTING, Run

UNSEEN = ("\x1b", "\u202e", "\r", "\x07", "\x9b", "\u200b", "\u2028")
EVERY = "".join(UNSEEN)


def harmless(text: str) -> bool:
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs") for c in text)


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=())))
def test_plain_text_is_one_line_that_any_terminal_can_print(text: str) -> None:
    shown = plain(text)
    assert "\n" not in shown and harmless(shown.replace("\u200c", "").replace("\u200d", ""))
    assert len(shown.encode()) >= len(text) and plain(shown) == shown


@pytest.mark.parametrize("text", ["a cat, 50% off [x]", "日本語　と絵文字🎉", "é e\u0301", "می\u200cخواهم"])
def test_ordinary_text_of_any_language_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("end", ["\x1b", "\u202e", "\n", "\udcff"])
def test_what_cannot_be_seen_is_written_out(end: str) -> None:
    assert plain(f"a{end}") == "a" + end.encode("unicode_escape").decode()


def test_a_policy_with_markup_for_a_name_is_shown_as_it_is(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    policy = {"name": "[red]a[x]", "description": HOSTILE, "safe": [SETTING], "unsafe": ["harm"]}
    path.write_text(strict_yaml.dump(policy), encoding="utf-8")
    code, out, err = run("anchors", "show", str(path))
    assert code == 0 and err == "" and harmless(out)
    assert out.startswith(f"[red]a[x]: {plain(HOSTILE)}\n") and f"  {plain(SETTING)}\n" in out
    assert len(out.splitlines()) == 6


def test_phrases_in_tables_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    scores = np.array([0.1, 0.2])
    policy = SafetyPolicy(HOSTILE, "", (HOSTILE,), ("b",))
    anchors = (Anchor(HOSTILE, "safe", 0.1), Anchor("[bold]b[/bold]", "unsafe", -0.1))
    curve = (AlphaPoint(0.5, 0.9, 0.9),)
    found = PolicyCheck(policy, HOSTILE, 1.0, 1.0, 1.0, scores, scores, anchors, curve, "pictures")
    for part in describe(found):
        terminal.show(part)
    out = capsys.readouterr().out
    assert harmless(out) and "[bold]b[/bold]" in out and "[/red]<script>" in out and ":warning:" in out


def test_cells_that_nobody_escaped_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(HOSTILE, title=f"[/red]{EVERY}", caption=f"[/red]{EVERY}")
    table.add_row(f"[/red]{EVERY}")
    terminal.show(table)
    assert harmless(capsys.readouterr().out)


def test_folder_names_in_comparisons_are_shown_as_they_are(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    one, two = tmp_path / "[red]one\x1b[2J", tmp_path / "[bold]two\u202e"
    write_results(one, 8, 0.5, 0.5)
    shutil.copytree(one, two)
    code, out, _ = run("compare", str(one), str(two))
    assert code == 0 and harmless(out) and "[red]one" in out and "[bold]two" in out


@pytest.mark.parametrize(
    "words",
    [
        ["anchors", "show", HOSTILE],
        ["recipes", "show", HOSTILE],
        ["tasks", "show", HOSTILE],
        ["train", HOSTILE],
        ["train", f"reward.alpha={HOSTILE}"],
        ["train", f"{HOSTILE}=1"],
        ["train", f"{HOSTILE}.yaml"],
        ["evaluate", "world", "--tasks", HOSTILE],
        ["evaluate", "--images", HOSTILE],
        ["evaluate", "world", "--protocols", HOSTILE],
        ["sample", HOSTILE, "a red square"],
        ["report", HOSTILE],
        ["compare", HOSTILE],
        ["export", HOSTILE],
        ["export", "x", "--to", HOSTILE],
        ["export", "x", HOSTILE],
        [HOSTILE],
        [f"--{HOSTILE}"],
        ["train", f"--{HOSTILE}"],
    ],
    ids=lambda words: " ".join(words).replace(HOSTILE, "HOSTILE"),
)
@pytest.mark.filterwarnings("ignore")
def test_an_error_is_one_line_that_shows_the_name_as_it_is(words: list[str], run: Run) -> None:
    code, out, err = run(*words)
    assert code == 2 and out == ""
    assert harmless(err) and len(err.splitlines()) == 1 and err.startswith("Error: "), err
    assert "[/red]<script>" in err, err


def test_commands_to_copy_quote_what_a_shell_would_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a b;$(c)"
    monkeypatch.setenv("SAFEDIFFUSION_HOME", str(place))
    assert shlex.split(PAPERS.command())[-1] == str(place)
    code, out, err = run("recipes", "copy", "world", str(tmp_path / "a;b.yaml"))
    assert code == 0 and shlex.split(out.splitlines()[-1])[-1] == str(tmp_path / "a;b.yaml"), err


def test_tracebacks_cannot_steer_the_terminal(run: Run) -> None:
    code, _, err = run("tasks", "show", HOSTILE, "-v")
    assert code == 2 and "Traceback" in err and harmless(err)


def test_a_log_line_stays_one_line_on_screen_and_in_log_txt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(**rest: object) -> None:
        with log_file(tmp_path / "log.txt"):
            logging.getLogger("safediffusion.test").warning("skipped %s", HOSTILE)

    monkeypatch.setattr(commands, "app", command)
    monkeypatch.setattr(sys, "argv", ["safediffusion"])
    logger = logging.getLogger("safediffusion")
    handlers = logger.handlers
    with pytest.raises(SystemExit):
        commands.run()
    logger.handlers = handlers
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text(encoding="utf-8")):
        assert text.endswith(f"skipped {plain(HOSTILE)}\n") and text.count("\n") == 1


def test_the_trainers_own_log_lines_stay_one_line(tmp_path: Path) -> None:
    from safediffusion.config import load_config
    from safediffusion.training.recorder import Recorder

    recorder = Recorder(load_config(None, []), None, RunFolder(tmp_path))  # type: ignore[arg-type]
    recorder.log(HOSTILE)
    assert recorder.folder.log.read_text(encoding="utf-8").endswith(f" {plain(HOSTILE)}\n")


def test_a_progress_line_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0")
    with progress(HOSTILE, 2) as line:
        assert line.desc.strip() == plain(HOSTILE)
        line.delay = 0
        line.name_phase(HOSTILE)
        line.display()
    err = capsys.readouterr().err
    assert plain(HOSTILE) in err and "\x1b[2J" not in err and "\u202e" not in err


def test_captions_on_sheets_may_hold_anything() -> None:
    from PIL import Image

    picture = Image.new("RGB", (192, 192))
    assert captioned_sheet([[picture]], [HOSTILE + "\udcff"], [HOSTILE + "\udcff"]).width > 192


def test_only_one_module_writes_to_the_terminal() -> None:
    root = Path(safediffusion.__file__).parent
    writers = ("typer.echo", "typer.secho", "Console(", "sys.stdout.write", " print(", "print_exc(")
    found = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if any(word in file.read_text(encoding="utf-8") for word in writers)
    }
    # the builder of World's networks prints its own stages
    assert found == {"text/terminal.py", "world/networks/stages.py", "world/networks/loop.py"}


def test_an_error_of_several_lines_is_shown_as_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**rest: object) -> None:
        raise UserError(f"first\n{EVERY}")

    monkeypatch.setattr(commands, "app", fail)
    code, _, err = run("doctor")
    assert code == 2 and err.count("\n") == 1 and harmless(err)
