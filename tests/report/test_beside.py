"""Other models' results beside a run's own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from safediffusion.errors import UserError
from safediffusion.files.atomic import write_json
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.beside import read_beside
from safediffusion.report.charts import strength_charts
from safediffusion.report.report import beside_table
from safediffusion.report.run_data import RunData
from tests.report.conftest import write_results


@pytest.fixture(scope="module")
def folder(run_folder: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with the results of a baseline in it, and results that cannot be compared with its own."""
    folder = RunFolder(tmp_path_factory.mktemp("beside") / "run")
    shutil.copytree(run_folder.root, folder.root)
    write_results(folder.eval_path("sld"), 70, 0.3, 0.5)
    shutil.copytree(folder.eval_path("sld"), folder.eval_path("older"))
    for path in folder.eval_path("older").glob("*/results.json"):
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"version": 0})
    return folder


def test_results_in_the_run_and_given_ones_are_read_and_others_left_out(
    folder: RunFolder, run_folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    found = read_beside(folder, [run_folder.root, folder.eval_path("sld")])
    assert [one.name for one in found] == ["sld", run_folder.root.name, str(folder.eval_path("sld"))]
    assert "older is left out of the report" in caplog.text and "version 0" in caplog.text


def test_given_results_that_cannot_be_compared_are_refused(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="version 0"):
        read_beside(folder, [folder.eval_path("older")])
    with pytest.raises(UserError, match="holds no results"):
        read_beside(folder, [tmp_path])
    with pytest.raises(UserError, match="not evaluated before training"):
        read_beside(RunFolder(tmp_path), [folder.root])


def test_the_page_has_a_table_and_points_of_them(folder: RunFolder) -> None:
    run = RunData.read(folder)
    table = beside_table(run)
    assert table and table.headers == ("metric", "before", "after", "sld")
    assert table.groups["world-i2p"][0][0].text == "inappropriate_rate ↓"
    (chart,) = strength_charts(run)
    names = [text.get_text() for text in chart.figure.axes[0].texts]
    assert names == ["before", "after", "sld"] and "Orange" in chart.note
    change = next(one for one in run.changes if one.name == "world-i2p/inappropriate_rate")
    line = np.asarray(chart.figure.axes[0].lines[0].get_xydata())
    np.testing.assert_allclose(line[:, 0], [100 * change.before["value"], 100 * change.after["value"]])
