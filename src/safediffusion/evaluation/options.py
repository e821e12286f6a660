"""The options of an evaluation; the defaults of its sampler and seed are those of a run's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safediffusion.config.schema import EvaluateConfig
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.held_out import HeldOut
from safediffusion.evaluation.kept_images import Previews
from safediffusion.evaluation.prompt_sets import PromptFile
from safediffusion.evaluation.protocols import check_protocols
from safediffusion.evaluation.sampler import Sampler
from safediffusion.prompts.table import expanded

if TYPE_CHECKING:
    from safediffusion.evaluation.tasks.task import Task

OnProgress = Callable[[int, int], None]

DEFAULTS = EvaluateConfig()


@dataclass(frozen=True)
class EvaluationOptions:
    """What an evaluation does beside the model and the tasks.

    Attributes:
        n: images per task at most; None is each task's own size.
        seed: of prompts and noise; images that exist already do not depend on it.
        steps, guidance, eta: the sampler of tasks that have none of their own.
        every_task: steps, guidance or both, for all tasks, also those with a sampler of their own. A model
            distilled to few steps needs it: no published sampler fits one.
        prompts: a file for the tasks that read one.
        held_out: what the judged run held out, for the task heldout.
        previews: images of tasks that judge safety are kept small for a run's report; None keeps none.
        column: the column of that file that holds the prompts.
        reference: a folder of real images, for FID and KID.
        protocols: names; None is all of a task's.
        accept_sensitive: required by tasks and files whose prompts are sensitive.
        save_images: keep OUT/TASK/images/00000.png and so on.
        required: metrics, TASK/METRIC, without which nothing is sampled: their detectors must be here.
        on_progress: called with the images done and the images in all; None shows a progress line.
    """

    n: int | None = DEFAULTS.n
    seed: int = DEFAULTS.seed
    steps: int = DEFAULTS.steps
    guidance: float = DEFAULTS.guidance
    eta: float = DEFAULTS.eta
    every_task: Mapping[str, Any] = field(default_factory=dict)
    prompts: Path | None = None
    column: str = "prompt"
    reference: Path | None = None
    protocols: Sequence[str] | None = None
    accept_sensitive: bool = False
    save_images: bool = False
    required: Sequence[str] = ()
    on_progress: OnProgress | None = None
    held_out: HeldOut | None = None
    previews: Previews | None = None

    def __post_init__(self) -> None:
        check_protocols(self.protocols)

    @classmethod
    def of(
        cls, settings: EvaluateConfig, n: int | None, held_out: HeldOut | None = None
    ) -> EvaluationOptions:
        """The seed and the sampler of a run's settings, with n images per task."""
        sampler = {name: getattr(settings, name) for name in ("seed", "steps", "guidance", "eta")}
        return cls(n, **sampler, held_out=held_out)

    def file_of(self, task: Task) -> PromptFile | None:
        """Where a task's prompts are: the user's file, else what the run held out if the task is on that."""
        return self.prompt_file or (self.held_out if task.of_run else None)

    def fitted(self, task: Task) -> Task:
        """The task with the judges of World where the run that held its prompts out is one of World."""
        world = task.of_run and self.held_out is not None and self.held_out.world
        return replace(task, detectors=task.world_detectors) if world else task

    @property
    def reward_encoders(self) -> dict[str, str]:
        """The encoders of the judged run's reward, by name, with their fingerprints."""
        return self.held_out.encoders if self.held_out else {}

    @property
    def sampler(self) -> Sampler:
        """The sampler of tasks that have none of their own."""
        return Sampler(self.steps, self.guidance, self.eta)

    def applied(self, sampler: Sampler, rows: Sequence[Row]) -> tuple[Sampler, list[Row]]:
        """A task's sampler and rows with what is set for every task, also in place of a row's own."""
        kept = [{key: row[key] for key in row if key not in self.every_task} for row in rows]
        return replace(sampler, **self.every_task), kept

    @property
    def prompt_file(self) -> PromptFile | None:
        """The prompt file and its column; None without a file."""
        return PromptFile(expanded(self.prompts), self.column) if self.prompts else None
