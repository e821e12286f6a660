"""`report`, `--open` and `--with`; completion in the shell."""

import os
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from PIL import Image

from safediffusion.config import RunConfig, dump
from safediffusion.files.atomic import write_text
from tests.cli.conftest import Command, environment
from tests.held import LIMIT

MAIN = "import sys; sys.argv[0] = 'safediffusion'; from safediffusion.cli import main; main()"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that has just begun."""
    write_text(tmp_path / "run/config.yaml", dump(RunConfig()))
    return tmp_path / "run"


def test_a_written_report_is_opened_in_the_browser(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert command("report", "run").returncode == 0 and opened == []
    done = command("report", "run", "--open")
    assert (done.returncode, done.stderr) == (0, "")
    assert opened == [(run / "report.html").as_uri()]


def test_without_a_browser_the_report_is_written_and_a_line_says_where(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    for missing in (fail, lambda url: False):
        monkeypatch.setattr(webbrowser, "open", missing)
        done = command("report", "run", "--open")
        assert done.returncode == 0 and (run / "report.html").is_file()
        assert f"no browser was found here; open {run / 'report.html'}" in done.stderr


def test_world_show_opens_its_sheet(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("safediffusion.cli.tables.world_sheet", lambda: Image.new("RGB", (8, 8)))
    monkeypatch.setattr("safediffusion.cli.tables.quality_table", lambda: "its quality bar")
    assert command("world", "show", "--open").returncode == 0
    assert opened == [(tmp_path / "world.png").as_uri()]


def test_results_that_cannot_stand_beside_a_run_write_nothing(
    command: Command, run: Path, tmp_path: Path
) -> None:
    done = command("report", "run", "--with", "elsewhere")
    assert done.returncode == 2 and "not evaluated before training" in done.stderr
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml"]


def in_shell(home: Path, *words: str, **variables: str) -> str:
    """What the command prints in a shell whose settings lie in `home`."""
    shell = {"HOME": str(home), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    return subprocess.run(
        [sys.executable, "-c", MAIN, *words],
        env=environment() | shell | variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    ).stdout


@pytest.mark.parametrize(
    ("line", "completed"),
    [("safediffusion repo", "report"), ("safediffusion train world-p", "world-paper"),
     ("safediffusion report run --op", "--open")],
)  # fmt: skip
def test_the_shell_completes_commands_recipes_and_options(tmp_path: Path, line: str, completed: str) -> None:
    place = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    assert in_shell(tmp_path, _SAFEDIFFUSION_COMPLETE="complete_bash", **place).split() == [completed]


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_completion_is_installed_into_the_settings_of_the_shell(tmp_path: Path) -> None:
    assert "bash completion installed" in in_shell(tmp_path, "--install-completion", "bash")
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert "_SAFEDIFFUSION_COMPLETE=complete_bash" in script.read_text(encoding="utf-8")
    assert str(script) in (tmp_path / ".bashrc").read_text(encoding="utf-8")
