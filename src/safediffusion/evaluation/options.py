"""The options of an evaluation; the defaults of its sampler and seed are those of a run's settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safediffusion.config.schema import EvaluateConfig
from safediffusion.evaluation.prompt_sets import PromptFile
from safediffusion.evaluation.sampler import Sampler
from safediffusion.prompts.table import expanded

OnProgress = Callable[[int, int], None]

DEFAULTS = EvaluateConfig()


@dataclass(frozen=True)
class EvaluationOptions:
    """What an evaluation does beside the model and the tasks.

    Attributes:
        n: images per task at most; None is each task's own size.
        seed: of prompts and noise; images that exist already do not depend on it.
        steps, guidance, eta: the sampler of tasks that have none of their own.
        prompts: a file for the tasks that read one.
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
    prompts: Path | None = None
    column: str = "prompt"
    reference: Path | None = None
    protocols: Sequence[str] | None = None
    accept_sensitive: bool = False
    save_images: bool = False
    required: Sequence[str] = ()
    on_progress: OnProgress | None = None

    @classmethod
    def of(cls, settings: EvaluateConfig, n: int | None) -> EvaluationOptions:
        """The seed and the sampler of a run's settings, with n images per task."""
        return cls(n, settings.seed, settings.steps, settings.guidance, settings.eta)

    @property
    def sampler(self) -> Sampler:
        """The sampler of tasks that have none of their own."""
        return Sampler(self.steps, self.guidance, self.eta)

    @property
    def prompt_file(self) -> PromptFile | None:
        """The prompt file and its column; None without a file."""
        return PromptFile(expanded(self.prompts), self.column) if self.prompts else None
