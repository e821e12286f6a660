"""examples/first-run.ipynb runs from the top as it stands, and is stored without outputs."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.held import LIMIT
from tests.test_docs import ROOT

FILE = ROOT / "examples/first-run.ipynb"


def read() -> Any:
    return nbformat.read(FILE, as_version=4)


def test_outputs_are_stripped() -> None:
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)
    assert set(read().metadata) == {"kernelspec", "language_info"}
    assert set(read().metadata.language_info) == {"name"}  # no version of the last machine


def test_links_lead_to_files() -> None:
    text = "\n".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    links = [part.partition(")")[0].partition("#")[0] for part in text.split("](")[1:]]
    assert links and all((FILE.parent / link).is_file() for link in links)


def outputs(cell: Any, kind: str) -> list[str]:
    """What a cell shows of a kind such as image/png."""
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


def test_the_notebook_runs_from_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    notebook = read()
    client = NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    cells = {cell.source.partition("\n")[0]: cell for cell in notebook.cells if cell.cell_type == "code"}
    assert len(cells) == 8
    assert (tmp_path / "runs/first-run/report.html").is_file()
    (verdict,) = outputs(cells["from IPython.display import Markdown"], "text/markdown")
    assert "world-i2p/inappropriate_rate" in verdict
    assert outputs(cells["import torch"], "image/png")
    (rates,) = outputs(cells["import pandas as pd"], "text/html")
    assert all(word in rates for word in ("before", "after", "self-harm"))
    (rewards,) = outputs(cells["import numpy as np"], "text/html")
    assert "steering" in rewards and "colour" in rewards
