"""A task, a detector and a source of images from outside the package, as docs/evaluation.md shows them."""

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safediffusion.cli import app
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import DetectorSet
from safediffusion.evaluation.detectors.world import Harm
from safediffusion.evaluation.results import rescore
from safediffusion.evaluation.runner import evaluate
from safediffusion.evaluation.sources import SOURCES, as_source, names_source
from safediffusion.evaluation.tasks import TASKS, get_task

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
MODULE = "my_evaluation"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder with the page's Python blocks as one module; what it adds is removed afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("safediffusion.evaluation.tasks.TASKS", TASKS.copy())
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / f"{MODULE}.py").write_text("\n".join(blocks), encoding="utf-8")
    yield tmp_path
    sys.modules.pop(MODULE, None)


def test_the_pages_own_calls_run(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = module / f"{MODULE}.py"
    file.write_text(re.sub(r"\bn=(64|20)\b", "n=2", file.read_text(encoding="utf-8")), encoding="utf-8")
    runpy.run_path(str(file), run_name="__main__")
    assert "'n': 2" in capsys.readouterr().out
    assert (module / "eval" / "world-dark" / "results.json").is_file()


def quiet(done: int, total: int) -> None:
    pass


def test_a_task_with_a_detector_from_outside_is_evaluated_and_scored_again(
    module: Path, diffuser: StableDiffusion
) -> None:
    done = evaluate(diffuser, [f"{MODULE}:DARK"], module / "out", n=3, steps=1, on_progress=quiet)
    assert done["world-dark"]["metrics"]["brightness"]["n"] == 3
    assert {"dark_rate", "blank_rate"} <= done["world-dark"]["metrics"].keys()
    assert done["world-dark"]["detectors"] == [{"name": "brightness", "rule": "mean of all pixels"}]
    assert rescore(module / "out")["world-dark"]["metrics"] == done["world-dark"]["metrics"]


def test_a_source_from_outside_is_evaluated_on_the_command_line(module: Path, judges: Harm) -> None:
    words = ["evaluate", f"{MODULE}:Noise", "--tasks", f"world-geneval,{MODULE}:DARK", "--limit", "4"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (folder,) = (module / "results").iterdir()
    found = json.loads((folder / "world-dark" / "results.json").read_text(encoding="utf-8"))
    assert (found["model"], found["source"]) == ("noise", {"side": 64, "version": 1})
    assert 0.45 < found["metrics"]["brightness"]["value"] < 0.55
    assert (folder / "world-geneval" / "results.json").is_file()
    shown = CliRunner().invoke(app, ["tasks", "show", f"{MODULE}:DARK"])
    assert "dark_rate" in shown.output and f"{MODULE}:Brightness" in shown.output


def test_records_of_another_description_or_class_are_not_used_again(module: Path) -> None:
    tasks, out = [f"{MODULE}:DARK"], module / "out"

    def fingerprint_of(source) -> str:
        return evaluate(source, tasks, out, n=2, on_progress=quiet)["world-dark"]["fingerprint"]

    noise = as_source(f"{MODULE}:Noise")
    first = fingerprint_of(noise)
    assert fingerprint_of(as_source(f"{MODULE}:Noise")) == first
    noise.side = 32  # type: ignore[attr-defined]
    other = fingerprint_of(noise)
    renamed = type("Renamed", (type(noise),), {})("cpu")
    assert len({first, other, fingerprint_of(renamed)}) == 3


def test_a_detector_is_called_with_the_device(module: Path) -> None:
    (detector,) = DetectorSet("cpu").named([f"{MODULE}:Brightness"]).values()
    assert detector.device == "cpu"  # type: ignore[attr-defined]


def test_what_is_not_a_task_or_a_source_is_refused(module: Path) -> None:
    with pytest.raises(UserError, match="Brightness is a type, not a Task"):
        get_task(f"{MODULE}:Brightness")
    with pytest.raises(UserError, match="not a source of images"):
        as_source(f"{MODULE}:Brightness")
    with pytest.raises(UserError, match="cannot be imported"):
        get_task("nowhere:TASK")


def test_a_task_from_outside_cannot_take_the_name_of_another(module: Path) -> None:
    with (module / f"{MODULE}.py").open("a") as file:
        file.write("\nfrom dataclasses import replace\nOTHER = replace(DARK, name='world-i2p')\n")
    with pytest.raises(UserError, match="another task is called world-i2p"):
        get_task(f"{MODULE}:OTHER")


@pytest.mark.parametrize("text", ["pkg.mod:make", "make_it:Now", "images:some folder", "pipeline:world"])
def test_these_name_sources(text: str) -> None:
    assert names_source(text)


@pytest.mark.parametrize("text", ["world", "runs/world", "owner/name", "C:\\models\\a", "images:", "a:b:c"])
def test_these_name_models(text: str) -> None:
    assert not names_source(text)


def test_every_registered_source_can_be_imported_by_its_argument(tmp_path: Path) -> None:
    assert as_source("pipeline:world").name == as_source("world").name == "world"
    assert set(SOURCES) == {"pipeline", "images"}
    with pytest.raises(UserError, match="is not a folder"):
        as_source(f"images:{tmp_path / 'nowhere'}")
