"""A few cases of the chaos benchmark, in a process of its own: it forks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, environment


@pytest.mark.skipif(sys.platform != "linux", reason="commands are forked, and disks are mounted")
def test_disturbed_commands_end_like_undisturbed_ones_or_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/chaos.py"), "--shortest"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed: train" in done.stdout and "damaged: " in done.stdout
