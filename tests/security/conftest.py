"""Hostile text, a hostile model folder, and the command line in this process."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safediffusion.cli import entry
from safediffusion.files.run_folder import RunFolder
from tests.pipelines import tiny_pipeline
from tests.report.conftest import synthetic_run

# Markup of a terminal and of HTML, an escape sequence, a line break, and a change of the reading direction.
HOSTILE = "[/red]<script>alert(1)</script>\x1b[2J\nsecond\u202eline & \"quoted' $x_1^2$ | `code` :warning:"
# What a setting may be: those hold no control characters.
SETTING = "".join(c for c in HOSTILE if c not in "\x1b\n")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command here; returns its exit code, stdout and stderr."""
    handlers = logging.getLogger("safediffusion").handlers

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["safediffusion", *words])
        with pytest.raises(SystemExit) as end:
            entry.run()
        seen = capsys.readouterr()
        return int(end.value.code or 0), seen.out, seen.err

    yield run
    logging.getLogger("safediffusion").handlers = handlers


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run that is read only."""
    return synthetic_run(tmp_path_factory.mktemp("runs") / "plain", n=12)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(path)
    return path
