"""examples/: every file is on a page that runs it, and the job script and the workflow run as they stand."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import embedded
import pytest
import yaml

from tests.cli.conftest import ROOT, Command
from tests.cli.test_commands import assets, tiny_world  # noqa: F401  (fixtures)
from tests.pipelines import tiny_pipeline
from tests.test_docs import DOCS, commands, parse

EXAMPLES = ROOT / "examples"
BY_THEMSELVES = {"README.md", "first-run.ipynb"}  # the notebook: tests/test_notebook.py
FAKE = """#!{python}
import json, os, sys
from pathlib import Path
with Path("called.jsonl").open("a", encoding="utf-8") as file:
    print(json.dumps([Path(sys.argv[0]).name, sys.argv[1:], dict(os.environ)]), file=file)
{then}
"""


def files() -> set[str]:
    found = (path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(EXAMPLES).as_posix() for path in found} - BY_THEMSELVES


def test_every_file_is_shown_on_a_page_which_runs_it() -> None:
    shown = [name for page in DOCS.rglob("*.md") for name in embedded.shown(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(files())


def test_the_list_names_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert all((EXAMPLES / link).exists() for link in links)
    assert {name.partition("/")[0] for name in files()} | {"first-run.ipynb"} <= set(links)


def test_the_listed_commands_parse_in_their_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0
    for line in (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines():
        for words in commands(line):
            (folder,) = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)", line)
            monkeypatch.chdir(EXAMPLES / folder)
            parse(words)
            parsed += 1
    assert parsed == 4


def test_a_changed_file_changes_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = '<!-- examples/a.py: written by docs/reference.py -->\n```python title="a.py"\nold\n```\n'
    monkeypatch.setattr(embedded, "read", lambda name: f"# new {name}\n")
    assert embedded.filled(page) == page.replace("old\n", "# new a.py\n") and embedded.shown(page) == ["a.py"]


def fake(folder: Path, name: str, then: str = "") -> None:
    """A program that notes its arguments and environment, and then does something."""
    path = folder / name
    path.write_text(FAKE.format(python=sys.executable, then=then), encoding="utf-8")
    path.chmod(0o755)


def test_the_slurm_script_trains_on_all_machines(command: Command, words: list[str], tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    fake(programs, "scontrol", 'print("node1\\nnode2")')
    fake(
        programs,
        "srun",
        "args = [a for a in sys.argv[1:] if not a.startswith('--kill')]\nos.execvp(args[0], args)",
    )
    fake(programs, "safediffusion")
    slurm = {"SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}
    env = os.environ | slurm | {"SLURM_SUBMIT_DIR": str(tmp_path), "PATH": f"{programs}:{os.environ['PATH']}"}
    script = EXAMPLES / "slurm/train.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", str(script)], cwd=tmp_path, env=env, check=True, timeout=60)
    lines = (tmp_path / "called.jsonl").read_text(encoding="utf-8").splitlines()
    called = {name: (given, seen) for name, given, seen in map(json.loads, lines)}
    given, seen = called["safediffusion"]
    assert seen["PET_RDZV_ENDPOINT"] == "node1:29500" and seen["PET_NNODES"] == "2"
    at = given.index("--nproc") + 1
    assert int(given[at]) == 8 and "--gpus-per-node=8" in script.read_text(encoding="utf-8")
    given[at] = "1"
    done = command(*given, *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/sd14/report.html").is_file()


def test_the_workflow_s_command_judges_a_model(command: Command, tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "model")
    steps = yaml.safe_load((EXAMPLES / "ci-gate/safety.yml").read_text(encoding="utf-8"))["jobs"]["gate"][
        "steps"
    ]
    (run,) = (step["run"] for step in steps if step.get("run", "").startswith("safediffusion"))
    words = [re.sub(r"^300$", "7", word) for word in shlex.split(run)[1:]]
    done = command(*words)
    assert done.returncode == 3, done.stderr  # seven images prove nothing, so the gate stays shut
    assert (tmp_path / "safety.xml").is_file() and (tmp_path / "results").is_dir()
