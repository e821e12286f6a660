"""Runs as processes of their own: the same command line as in a shell, which outlives the page.

What the page started is noted beside the runs, in .started/: NAME.json has the words of the command and the
process, NAME.log what it printed. The run folder itself has to be empty when a run begins.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import psutil

from safediffusion.config import RunConfig, diff, dump, flatten, list_recipes, load_config, load_run_config
from safediffusion.errors import Damaged, UserError
from safediffusion.files.atomic import write_json, write_text
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Part
from safediffusion.files.folder_lock import holder, is_alive, is_train_command, working
from safediffusion.files.paths import checked, out_path
from safediffusion.files.run_folder import RunFolder
from safediffusion.text.strict_yaml import dump_inline
from safediffusion.text.words import file_name, text

STARTED = ".started"
NO_PRESET = "none"
MOST_PROCESSES = 1024  # as the command line has it
starting = threading.Lock()  # two browsers that start the same run come one after the other
children: list[subprocess.Popen[bytes]] = []  # asked now and then, so that none stays a zombie
asked_to_stop: set[tuple[int, float]] = set()  # processes by number and start


class Started(Part):
    """.started/NAME.json."""

    words: list[str]
    preset: str | None = None
    nproc: int = 1
    pid: int
    began: float
    log_from: int


@dataclass(frozen=True)
class Command:
    """A `safediffusion train`.

    Attributes:
        words: recipe and settings.
        preset: memory settings for a GPU.
        nproc: processes that share the run.
    """

    words: tuple[str, ...]
    preset: str | None = None
    nproc: int = 1

    @property
    def options(self) -> list[str]:
        """Preset and processes as words of the command line."""
        preset = ["--preset", self.preset] if self.preset else []
        return [*preset, "--nproc", str(self.nproc)] if self.nproc > 1 else preset

    def config(self) -> RunConfig:
        """The settings of the run.

        Raises:
            UserError: a setting does not exist, or a value is not accepted.
        """
        return load_config(self.words[0], self.words[1:], self.preset)

    def arguments(self, folder: RunFolder) -> list[str]:
        """The words after `safediffusion` for a run in a folder; none of `words` is taken for an option."""
        return ["train", "--out", str(folder.root), *self.options, "--", *self.words]

    def typed(self, folder: RunFolder) -> str:
        """The command for a shell."""
        words = ["safediffusion", "train", *self.words, *self.options, "--out", str(folder.root)]
        return " ".join(map(quote, words))


@dataclass(frozen=True)
class Asked:
    """A run that the page is asked for.

    Attributes:
        recipe: a shipped recipe, or a YAML file.
        settings: key=value, one a line.
        name: of its folder in the folder of runs.
        preset: memory settings for a GPU, or none.
        nproc: processes; None where the field is empty, which means one.
    """

    recipe: str
    settings: str
    name: str
    preset: str = NO_PRESET
    nproc: int | None = None

    def command(self) -> Command:
        """The command that starts it.

        Raises:
            UserError: the recipe would be taken for a setting, or the number of processes is out of bounds.
        """
        recipe = self.recipe.strip()
        if not recipe or "=" in recipe:
            raise UserError("the recipe is the name of a shipped one, or a .yaml file")
        if not 1 <= (nproc := 1 if self.nproc is None else self.nproc) <= MOST_PROCESSES:
            raise UserError(f"a run takes 1 to {MOST_PROCESSES} processes, not {nproc}")
        settings = (line.strip() for line in self.settings.splitlines() if line.strip())
        preset = None if self.preset == NO_PRESET else self.preset
        return Command((recipe, *settings), preset, nproc)

    def folder(self, runs_dir: Path) -> RunFolder:
        """Its run folder.

        Raises:
            UserError: the name is not one of a folder.
        """
        name = checked(lambda value: file_name(text(value)), self.name.strip(), "the name")
        return RunFolder(out_path(str(runs_dir / name)))


def note_path(folder: RunFolder) -> Path:
    """Where the page notes what it started."""
    return folder.root.parent / STARTED / f"{folder.root.name}.json"


def log_path(folder: RunFolder) -> Path:
    """What the processes printed that the page started."""
    return note_path(folder).with_suffix(".log")


def started(folder: RunFolder) -> dict[str, Any] | None:
    """What the page noted of a run; None where it started none."""
    with suppress(Damaged):
        return read_json(note_path(folder), Started)
    return None


def just_started(runs_dir: Path) -> list[RunFolder]:
    """The runs that the page started, that go on and that have no folder of their own yet."""
    notes = (RunFolder(runs_dir / path.stem) for path in sorted((runs_dir / STARTED).glob("*.json")))
    return [folder for folder in notes if not folder.config.exists() and process_of(folder)]


def process_of(folder: RunFolder) -> psutil.Process | None:
    """The process of this machine that works on a run, also while it loads and has no folder yet."""
    for child in children:
        child.poll()
    if note := started(folder):
        with suppress(psutil.Error):
            process = psutil.Process(note["pid"])
            if is_alive(process) and process.create_time() == note["began"]:
                return process
    return working(folder.root)


def start(command: Command, folder: RunFolder) -> None:
    """Start a run, or go on with it, as a detached process.

    Raises:
        UserError: a process works on it already. One that begins at this very moment is refused by the
            folder's lock, which its log says.
    """
    log, note = log_path(folder), note_path(folder)
    with starting:
        if process := process_of(folder):
            where = holder(folder.root) or f" ({process.pid})"
            raise UserError(
                f"another process{where} works in {folder.root}; watch it, or choose another name"
            )
        out_path(str(log)).parent.mkdir(parents=True, exist_ok=True)
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as printed:
            child = subprocess.Popen(
                [sys.executable, "-m", "safediffusion", *command.arguments(folder)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env={"PYTHONSAFEPATH": "1"} | os.environ,  # -m would import from the working folder first
                start_new_session=True,  # neither the terminal's Ctrl-C nor its end reaches it
            )
        children.append(child)
        began = psutil.Process(child.pid).create_time()
        process = {"pid": child.pid, "began": began, "log_from": begin}
        write_json(note, asdict(command) | process)


def stop(folder: RunFolder) -> None:
    """End a run as Ctrl-C does: after the current round, with a checkpoint.

    Raises:
        UserError: nobody works on it here, it was asked already, or another program does.
    """
    process = process_of(folder)
    if process is None:
        raise UserError(f"no process of this machine works in {folder.root}; there is nothing to stop")
    if is_stopping(process):
        raise UserError(f"{folder.root} was asked to stop already, and ends after this round")
    with suppress(psutil.NoSuchProcess):
        if not is_train_command(process):
            raise UserError(
                f"process {process.pid} works in {folder.root} and is no `safediffusion train`; stop it "
                "where it was started"
            )
        asked_to_stop.add((process.pid, process.create_time()))
        process.terminate()


def is_stopping(process: psutil.Process) -> bool:
    """Whether the page asked it to stop."""
    return (process.pid, process.create_time()) in asked_to_stop


def command_of(folder: RunFolder) -> Command:
    """The command that goes on with a run: the one that started it, or one that makes the same settings.

    Raises:
        UserError: there is no run and none was started.
        Damaged: its settings cannot be read.
    """
    note = started(folder)
    noted = Command(tuple(note["words"]), note["preset"], note["nproc"]) if note else None
    if not folder.config.exists():
        if noted is None:
            raise UserError(f"{folder.root} is not a run folder: it has no config.yaml")
        return noted
    config = load_run_config(folder.config)
    if noted and is_same(config, noted):
        return noted
    nproc = noted.nproc if noted else 1
    if config.recipe in list_recipes():
        command = Command((config.recipe, *overrides(config)), nproc=nproc)
        if is_same(config, command):
            return command
    # of a file that only its user knows; a recipe is called as its file
    copy = note_path(folder).with_suffix("") / "settings" / f"{config.recipe}.yaml"
    write_text(copy, dump(config))
    return Command((str(copy),), nproc=nproc)


def is_same(config: RunConfig, command: Command) -> bool:
    """Whether a command makes these settings."""
    with suppress(UserError):
        return not diff(config, command.config())
    return False


def overrides(config: RunConfig) -> list[str]:
    """The settings in which a run differs from its recipe, as key=value."""
    own, recipe = flatten(config), flatten(load_config(config.recipe))
    return [f"{key}={dump_inline(value)}" for key, value in own.items() if value != recipe[key]]
