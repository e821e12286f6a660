"""What lies in the folder of runs, for the lists of the page: runs, and results of evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from safediffusion.files.run_folder import RunFolder


def run_folders(runs_dir: Path) -> list[RunFolder]:
    """The run folders in a folder and in its subfolders, the newest first."""
    dated: list[tuple[float, Path]] = []
    for pattern in ("*/config.yaml", "*/*/config.yaml"):
        for file in runs_dir.glob(pattern):
            with suppress(OSError):  # deleted since it was listed
                dated.append((file.stat().st_mtime, file.parent))
    return [RunFolder(path) for _, path in sorted(dated, reverse=True)]


def finished_runs(runs_dir: Path) -> list[str]:
    """The paths of runs that have a model to sample from."""
    return [str(run.root) for run in run_folders(runs_dir) if run.model.is_dir()]


def judged(runs_dir: Path) -> list[str]:
    """The paths of evaluated runs, and of folders of results in the folder, its subfolders and runs."""
    return list(map(str, _judged(runs_dir)))


def _judged(runs_dir: Path) -> Iterator[Path]:
    runs = [run.root for run in run_folders(runs_dir)]
    yield from (run for run in runs if any(run.glob("eval/*/*/results.json")))
    beside = (path for pattern in ("*", "*/*") for path in runs_dir.glob(pattern))
    inside = (path for run in runs for path in run.glob("eval/*") if path.name not in ("before", "after"))
    yield from (path for path in sorted({*inside, *beside}) if any(path.glob("*/results.json")))
