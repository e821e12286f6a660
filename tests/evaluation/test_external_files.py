"""The command that a missing file is answered with brings the file to where it is looked for."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from safediffusion.evaluation.detectors import inception, mask2former, nudenet, q16
from safediffusion.evaluation.external_files import External
from safediffusion.evaluation.prompt_sets import GENEVAL, I2P

CURLED = [*q16.FILES.values(), inception.WEIGHTS, mask2former.REFERENCE, GENEVAL]
CURL = """#!/bin/bash
# Takes the options in use here; like the real one it makes folders only when told to.
while [ $# -gt 0 ]; do
  case "$1" in
    -f) ;;
    --create-dirs) folders=1 ;;
    -Lo) file="$2"; shift ;;
    https://*) address="$1" ;;
    *) exit 2 ;;
  esac
  shift
done
[ -n "$folders" ] && mkdir -p "$(dirname "$file")"
echo "$address" > "$file"
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that does not exist yet, with a space in its name, and a curl that reaches nothing."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "curl").write_text(CURL, encoding="utf-8")
    (tmp_path / "bin" / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SAFEDIFFUSION_HOME", str(tmp_path / "my files" / "home"))
    return tmp_path / "my files" / "home"


@pytest.mark.parametrize("external", CURLED, ids=lambda e: e.file)
def test_the_command_runs_and_its_file_is_then_found(external: External, shell: Path):
    subprocess.run(external.command(), shell=True, check=True)
    assert (shell / external.file).read_text(encoding="utf-8").startswith("https://")


@pytest.mark.parametrize("external", [*CURLED, I2P, nudenet.PAPERS, nudenet.LATER], ids=lambda e: e.file)
def test_every_command_is_one_that_a_shell_reads_and_names_the_home(external: External, shell: Path):
    words = shlex.split(external.command())
    assert words[0] in ("curl", "hf", "pip")
    assert any(word.startswith(str(shell)) for word in words)
    subprocess.run(["bash", "-n", "-c", external.command()], check=True)


def test_qu_and_others_prompts_come_from_their_own_folder():
    assert (
        "unsafe-diffusion/HEAD/checkpoints/finetuned_q16/prompts.pt" in q16.FILES["q16-finetuned"].command()
    )
