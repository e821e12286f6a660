"""`safediffusion evaluate`: models, or pictures that exist, under the same tasks, prompts and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safediffusion.cli.sample import model_path, run_config
from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.text.words import as_file_name


@dataclass(frozen=True)
class EvaluateRequest:
    """What the command line asks for.

    Attributes:
        tasks: names; none means all of a run's.
        limit: images a task at most.
        out: parent of the result folders; None is results/.
        prompts, reference: files and folders of the user.
        protocols: names; none means all.
        accept_sensitive: whether sensitive prompts may be loaded.
        save_images: whether pictures are kept.
        column: of the prompt file.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    out: Path | None = None
    prompts: Path | None = None
    reference: Path | None = None
    protocols: tuple[str, ...] = ()
    accept_sensitive: bool = False
    save_images: bool = False
    column: str = "prompt"

    @property
    def options(self) -> dict[str, Any]:
        """The options of `evaluate` that the command line sets; seed and sampler come from the run."""
        return {
            "n": self.limit,
            "prompts": self.prompts,
            "column": self.column,
            "reference": self.reference,
            "protocols": self.protocols,
            "accept_sensitive": self.accept_sensitive,
            "save_images": self.save_images,
        }

    def folder(self, name: str) -> Path:
        """Where the results of a model or a folder of pictures go."""
        name = name.strip("./") or Path(name).resolve().name  # `.` and `..` name a folder too
        return (self.out or Path("results")) / as_file_name(name)


def judge(model: str, baseline: str | None, wish: EvaluateRequest) -> list[Path]:
    """Evaluate and return the result folders, the baseline's first.

    A folder of results is not drawn again: its stored records are scored under the protocols asked for.
    A run's sampler, and how it loads its model, hold for its baseline too.

    Args:
        model: run folder, diffusers folder, hub id, world, or a folder of results.
        baseline: a model to compare with.
        wish: what to do with them.
    """
    from safediffusion.evaluation.protocols import get_protocol

    for name in wish.protocols:
        get_protocol(name)
    config = run_config(model)
    return [_judge_one(name, config, wish) for name in ([baseline, model] if baseline else [model])]


def _judge_one(name: str, config: RunConfig, wish: EvaluateRequest) -> Path:
    from safediffusion.evaluation.results import rescore
    from safediffusion.evaluation.runner import EvaluationOptions, evaluate
    from safediffusion.evaluation.sources import names_source
    from safediffusion.evaluation.tasks import get_task

    if any(any(Path(name).glob(f"*/{file}")) for file in ("records.jsonl", "results.json")):
        for task in wish.tasks:
            get_task(task)  # one from outside the package is known by its name from here on
        rescore(Path(name), wish.protocols)
        return Path(name)
    settings, folder = config.evaluate, wish.folder(model_path(name))
    loading = config.model.model_copy(update={"path": model_path(name), "tiny_vae": None})
    options = EvaluationOptions.of(settings, wish.limit)
    model = name if names_source(name) else loading
    evaluate(model, wish.tasks or settings.tasks, folder, options, **wish.options)
    return folder


def judge_images(images: Path, wish: EvaluateRequest) -> list[Path]:
    """Evaluate a folder of pictures; each task's prompts say what they were drawn from."""
    from safediffusion.evaluation.failures import AllFailed
    from safediffusion.evaluation.runner import evaluate_images

    folder = wish.folder(images.name)
    failed: list[AllFailed] = []
    for task in wish.tasks or ("images",):
        try:
            evaluate_images(images, task=task, out=folder, **wish.options)
        except AllFailed as error:  # the other tasks may know some of the pictures
            failed.append(error)
    if failed:
        raise AllFailed("; ".join(map(str, failed)))
    return [folder]


def one_source(model: str | None, images: Path | None) -> None:
    """A model or a folder of pictures, not both and not neither."""
    if (model is None) == (images is None):
        raise UserError("give a MODEL to draw pictures, or --images DIR to judge pictures you have")
