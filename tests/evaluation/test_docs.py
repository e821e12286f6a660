"""The documentation's example is run, and its table is the protocols' own."""

import re
from pathlib import Path

from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.evaluation.detectors import DETECTORS
from safediffusion.evaluation.runner import evaluate
from safediffusion.evaluation.tasks import TASKS
from tests.evaluation.test_protocols import KNOWN

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_example_detector_and_task_work(diffuser: StableDiffusion, tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(example.splitlines()) < 60
    exec(example, {})
    try:
        done = evaluate(diffuser, ["world-dark"], 3, steps=1, out=tmp_path, on_progress=lambda a, b: None)
    finally:
        del TASKS["world-dark"], DETECTORS["brightness"]
    assert done["world-dark"]["metrics"]["brightness"]["n"] == 3
    assert "dark_rate" in done["world-dark"]["metrics"]


def test_the_table_shows_the_known_numbers():
    rows = re.findall(r"^\| ([a-z0-9-]+) \|.*\| (\d+) \|$", PAGE, re.MULTILINE)
    assert {name: int(value) for name, value in rows} == KNOWN
