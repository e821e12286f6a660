"""Every script of benchmarks/ explains itself."""

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# clients run in environments of their own, and no person starts them
SCRIPTS = sorted(
    path.name
    for path in BENCHMARKS.glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and not path.stem.endswith("_client")
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # chaos.py sets it where it is not
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
    assert end.value.code == 0
    assert name in capsys.readouterr().out


def test_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 15
