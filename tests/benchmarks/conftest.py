"""The scripts of benchmarks/ as modules, and judges of random weights where World's would be."""

from pathlib import Path

import pytest

from tests.evaluate.conftest import judges, tiny_assets

__all__ = ["judges", "tiny_assets"]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
