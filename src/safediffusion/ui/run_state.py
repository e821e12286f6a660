"""How far a run is, from its folder alone: any run, whoever started it, and wherever it goes on."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from safediffusion.config import RunConfig, load_run_config
from safediffusion.errors import RunError, UserError
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Progress, Summary
from safediffusion.files.folder_lock import holder, working
from safediffusion.files.run_folder import RunFolder
from safediffusion.text.escaping import plain
from safediffusion.ui.run_files import Kept, Rows, stamp
from safediffusion.ui.run_start import is_stopping, log_path, process_of, started

RECENT = 10  # rounds whose mean is the time of the next ones
TAIL = 4096  # bytes of a log
LINES = 6  # of a log
LATELY = 900  # seconds
MOST_RUNS = 50  # whose rows are kept

kept = Kept()


@dataclass(frozen=True)
class Phase:
    """What a run does now.

    Attributes:
        name: as the progress line of the command has it.
        done, total: units of work; a total of 0 is not known.
        unit: of them.
        seconds_left: of this phase and of what is known to follow; None where it cannot be told.
    """

    name: str
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class RunState:
    """What the page says of a run.

    Attributes:
        status: starting, running, stopping, stopped, failed, finished, collapsed or missing.
        phase: None for a run that has ended.
        who: holds the folder, in words.
        alarm: what the collapse alarm says.
        error: why the last process ended, as it said itself.
        notes: files that cannot be read.
        log: the last lines.
    """

    folder: RunFolder
    status: str
    config: RunConfig | None = None
    phase: Phase | None = None
    who: str = ""
    alarm: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    summary: dict[str, Any] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether a process works on it."""
        return self.status in ("starting", "running", "stopping")

    @property
    def can_go_on(self) -> bool:
        """Whether something is left to do and nobody does it."""
        return self.status in ("stopped", "failed")


class RunStates:
    """Reads runs again and again, and the rows of each only once."""

    def __init__(self) -> None:
        self._rows: dict[Path, Rows] = {}

    def read(self, folder: RunFolder) -> RunState:
        """The state of a run now."""
        process, elsewhere = process_of(folder), worker_elsewhere(folder)
        if not (folder.root.is_dir() or process or started(folder)):
            return RunState(folder, "missing")
        reader = Reader()
        config = reader.optional(load_run_config, folder.config)
        summary = reader.optional(read_summary, folder.summary)
        progress = reader.optional(read_progress, folder.progress) or {}
        if len(self._rows) > MOST_RUNS:
            self._rows.clear()
        rows = tuple(reader.rows(self._rows.setdefault(folder.metrics, Rows(folder.metrics))))
        error = last_error(folder)
        if process and not (summary and working(folder.root) is None):
            loading = config is None or working(folder.root) is None
            status = "stopping" if is_stopping(process) else "starting" if loading else "running"
        elif summary:
            status = "collapsed" if summary["status"] == "collapsed" else "finished"
        elif elsewhere:
            status = "running"
        elif not folder.root.is_dir() and error is None:
            status = "missing"
        else:
            status = "failed" if error else "stopped"
        phase = phase_of(folder, None if status == "starting" else config, rows, progress)
        return RunState(
            folder,
            status,
            config,
            None if summary or status == "missing" else phase,
            f"process {process.pid} of this machine" if process else elsewhere,
            alarm_of(rows, summary),
            error if status == "failed" else None,
            tuple(reader.notes),
            tuple(log_lines(folder.log)),
            rows,
            summary,
        )


STATES = RunStates()


class Reader:
    """Reads files of which each may be missing or damaged; what is wrong with them is kept as sentences."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def optional(self, make: Any, path: Path) -> Any:
        """The content of a file; None where it is missing or damaged."""
        if not path.exists():
            return None
        try:
            return kept(make, path)
        except (RunError, UserError) as error:
            if path.exists():  # not removed meanwhile
                self.notes.append(str(error))
            return None

    def rows(self, rows: Rows) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        try:
            found = rows.update()
        except OSError as error:
            self.notes.append(f"{rows.path} cannot be read: {(error.strerror or str(error)).lower()}")
            return []
        if rows.damaged:
            count = f"{rows.damaged} of {rows.damaged + len(found)} lines"
            self.notes.append(f"{rows.path} is damaged; {count} are left out")
        return found


def worker_elsewhere(folder: RunFolder) -> str:
    """The process of another machine that holds the folder and wrote there lately, in words; or nothing."""
    who = holder(folder.root).strip(" ()")
    if not who or who.endswith(f" on {platform.node()}"):
        return ""
    files = (folder.progress, folder.metrics, folder.log)
    written = [found[1] / 1e9 for path in files if (found := stamp(path))]
    return f"process {who}" if time.time() - max(written, default=0.0) < LATELY else ""


def read_summary(path: Path) -> dict[str, Any]:
    """summary.json."""
    return read_json(path, Summary)


def read_progress(path: Path) -> dict[str, Any]:
    """progress.json."""
    return read_json(path, Progress)


def phase_of(
    folder: RunFolder, config: RunConfig | None, rows: tuple[dict[str, Any], ...], progress: dict[str, Any]
) -> Phase:
    """The phase of a run that has no summary yet."""
    if config is None:
        return Phase("load")
    missing = {when: unjudged(folder, when, config) for when in ("before", "after")}
    if not rows and missing["before"]:
        begun = folder.eval_path("before").is_dir()
        return evaluation(folder, "before", config) if begun else Phase("check and audit anchors")
    if not folder.model.is_dir():
        done, total = rows[-1]["step"] if rows else 0, config.train.steps
        return Phase("train", done, total, "rounds", training_left(rows, total - done, progress))
    return evaluation(folder, "after", config) if missing["after"] else Phase("report")


def training_left(rows: tuple[dict[str, Any], ...], rounds: int, progress: dict[str, Any]) -> float | None:
    """Seconds of the rounds that are left and of the evaluation after them; None before the first round."""
    if not rows:
        return None
    pace = mean(sum(row["seconds"].values()) for row in rows[-RECENT:])
    return pace * max(0, rounds) + progress.get("phases", {}).get("evaluate before", 0.0)


def unjudged(folder: RunFolder, when: str, config: RunConfig) -> list[str]:
    """The tasks of an evaluation that have no result yet."""
    return [
        name for name in config.evaluate.tasks if not folder.eval_path(when, name, "results.json").exists()
    ]


def evaluation(folder: RunFolder, when: str, config: RunConfig) -> Phase:
    """How far an evaluation is, by the batches that are on disk."""
    done = total = 0
    times: list[float] = []
    for name in config.evaluate.tasks:
        size, batch = size_of(name, config.evaluate.n)
        total += size
        if folder.eval_path(when, name, "results.json").exists():
            done += size
            continue
        parts = list(folder.eval_path(when, name).glob("parts-*/*.json"))
        done += min(size, batch * len(parts))
        with suppress(OSError):
            times += sorted(part.stat().st_mtime for part in parts)
    left = None
    if len(times) > 1 and done:
        per_image = (times[-1] - times[0]) / max(1, len(times) - 1) / size_of(config.evaluate.tasks[0], 1)[1]
        left = per_image * (total - done)
    return Phase(f"evaluate {when}", done, total, "images", left)


def size_of(task: str, n: int | None) -> tuple[int, int]:
    """Images of a task and of one of its batches; none where the task is not known here."""
    try:
        found = get_task(task)
    except (UserError, RunError):
        return 0, 1
    return min(n or found.n, found.n), found.batch


def alarm_of(rows: tuple[dict[str, Any], ...], summary: dict[str, Any] | None) -> str | None:
    """The collapse alarm in a sentence, once it fired."""
    first = next((row["step"] for row in rows if row["collapse"]), None)
    step = (summary or {}).get("collapsed_at") or first
    if step is None:
        return None
    now = "; it is on" if rows and rows[-1]["collapse"] else "; it is off again"
    tail = "" if summary else now
    return f"The collapse alarm fired at round {step}: the reward rose while the images degraded{tail}."


def last_error(folder: RunFolder) -> str | None:
    """Why the last process that the page started ended, if it said so; None after a stop."""
    note = started(folder)
    lines = log_lines(log_path(folder), note["log_from"]) if note else []
    errors = [line for line in lines if line.startswith("Error: ")]
    return errors[-1].removeprefix("Error: ") if errors else None


def log_lines(path: Path, begin: int = 0) -> list[str]:
    """The last lines of a log; a carriage return begins a line anew."""
    with suppress(OSError), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(begin, size - TAIL))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return [plain(line.strip()) for line in lines if line.strip()][-LINES:]
    return []
