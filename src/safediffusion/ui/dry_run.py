"""What a run is going to do, before it is started: the plan that `train --dry-run` prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safediffusion.config import dump
from safediffusion.run.plan import preview
from safediffusion.run.session import choose_folder
from safediffusion.ui.run_start import Asked


@dataclass(frozen=True)
class DryRun:
    """A plan.

    Attributes:
        asked: what it is the plan of.
        command: that starts it in a shell.
        begins: what starting it does: begin, go on, or nothing.
        plan: its size, work and memory.
        settings: all of them, as YAML.
        can_start: whether something is left to do.
    """

    asked: Asked
    command: str
    begins: str
    plan: str
    settings: str
    can_start: bool


def dry_run(asked: Asked, runs_dir: Path) -> DryRun:
    """Plan a run; nothing is written.

    Raises:
        UserError: a setting does not exist or is not accepted, or the folder holds something else.
        Damaged: the folder holds a run whose settings cannot be read.
    """
    command, folder = asked.command(), asked.folder(runs_dir)
    config = command.config()
    choose_folder(config, folder.root, fresh=False)
    finished = folder.summary.exists()
    if finished:
        begins = f"{folder.root} holds this run, and it is finished; choose another name for another run"
    elif folder.config.exists():
        begins = f"{folder.root} holds the beginning of this run, which goes on from its last checkpoint"
    else:
        begins = f"the run begins in the new folder {folder.root}"
    plan = preview(config, command.nproc, command.words[1:])
    return DryRun(asked, command.typed(folder), begins, str(plan), dump(config), not finished)
