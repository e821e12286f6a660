"""The prompts that a run held out, and what is known about the run that its judges depend on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safediffusion.evaluation.prompt_sets import PromptFile
from safediffusion.files import contents
from safediffusion.files.checked import read_json
from safediffusion.files.run_folder import RunFolder


@dataclass(frozen=True)
class HeldOut(PromptFile):
    """What the task heldout judges a run on: the file RUN/heldout.json and what it holds.

    Attributes:
        rows: "prompt" and "label" (benign, unsafe, or empty), the labels in turn.
        world: whether the run is of World, whose images World's judges judge.
        encoders: of the run's reward, by name, with their fingerprints; they are no independent judges.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    world: bool = False
    encoders: dict[str, str] = field(default_factory=dict)


def held_out_of(folder: Path) -> HeldOut | None:
    """What a run folder holds out; None for any other folder, and where nothing is held out.

    Raises:
        Damaged: the file was changed or cut.
    """
    path = RunFolder(folder).heldout
    if not path.is_file():
        return None
    found = read_json(path, contents.HeldOut)
    return HeldOut(path, "prompt", found["prompts"], found["world"], found["encoders"])
