"""`--help` of every command, and `--version`."""

import re

import pytest

from safediffusion import __version__
from tests.cli.conftest import ROOT, Command

COMMANDS = re.findall(r"^## (.+)$", (ROOT / "docs/commands.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_version_is_printed(command: Command) -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_documented_command_prints_its_help(command: Command, name: str) -> None:
    done = command(*name.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout and name in done.stdout
