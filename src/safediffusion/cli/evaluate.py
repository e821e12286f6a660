"""`safediffusion evaluate`: models or existing images, with the same tasks, prompts and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.models.images import Sampler, with_sampler
from safediffusion.models.loaded import Parts, load_with, name_with
from safediffusion.models.named import loading, model_path, run_config
from safediffusion.text.words import as_file_name

if TYPE_CHECKING:
    from safediffusion.evaluation.gate.limit import Limit
    from safediffusion.evaluation.held_out import HeldOut

ONLY_MODELS = "--unet and --text-encoder replace a part of a model that is sampled from"


@dataclass(frozen=True)
class EvaluateRequest:
    """The options of the command.

    Attributes:
        tasks: names; empty means all tasks of the run.
        limit: images per task at most.
        out: parent of the result folders; None is results/.
        prompts: a file of the user's prompts.
        column: of that file.
        reference: a folder of real images.
        protocols: names; empty means all.
        accept_sensitive: whether sensitive prompts may be loaded.
        save_images: whether images are kept.
        parts: weights that replace parts of the model, not of its baseline.
        limits: that the last result is held against.
        load: how the model is loaded, see `run_config`.
        held_out: what the judged run held out.
        sampler: steps and guidance of all tasks.
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
    parts: Parts = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    load: Sequence[str] = ()
    held_out: HeldOut | None = None
    sampler: Sampler = field(default_factory=Sampler)

    @property
    def options(self) -> dict[str, Any]:
        """The options of `evaluate` that the command line sets; seed and eta come from the run."""
        return {
            "n": self.limit,
            "prompts": self.prompts,
            "column": self.column,
            "reference": self.reference,
            "protocols": self.protocols,
            "accept_sensitive": self.accept_sensitive,
            "save_images": self.save_images,
            "required": [limit.metric for limit in self.limits],
            "held_out": self.held_out,
            "every_task": self.sampler.given,
        }

    def config_of(self, model: str) -> RunConfig:
        """The settings of a run, or the defaults, with what the command says about model and sampler.

        Raises:
            UserError: a setting is not accepted.
        """
        return with_sampler(run_config(model, self.load), self.sampler)

    def check_limits(self, tasks: Sequence[str]) -> None:
        """Refuse limits on metrics that these tasks do not have, before anything is sampled."""
        from safediffusion.evaluation.gate.limit import check_limits
        from safediffusion.evaluation.tasks import get_task

        check_limits(self.limits, [get_task(task) for task in tasks], self.protocols)

    def folder(self, name: str) -> Path:
        """Folder for the results of a model or of a folder of images."""
        name = name.strip("./") or Path(name).resolve().name  # `.` and `..` name a folder too
        return (self.out or Path("results")) / as_file_name(name)


def evaluate_models(model: str, baseline: str | None, request: EvaluateRequest) -> list[Path]:
    """Evaluate and return the result folders, the baseline's first.

    The images of a folder of results are not sampled again: its stored records are scored under the given
    protocols. The sampler of a run, and how it loads its model, hold for its baseline too.

    Args:
        model: run folder, diffusers folder, hub id, world, or a folder of results.
        baseline: a model to compare with.
        request: the options.
    """
    from safediffusion.baselines.sampling import check_suffix
    from safediffusion.baselines.suffix import split_suffix
    from safediffusion.evaluation.held_out import held_out_of

    for name in filter(None, (model, baseline)):
        check_suffix(name)
    config = request.config_of(model)
    if holds_results(model):
        refuse_sampler(model, request.sampler)
    else:
        request.check_limits(request.tasks or config.evaluate.tasks)
    request = replace(request, held_out=held_out_of(Path(split_suffix(model)[0])))
    done = [evaluate_model(baseline, config, replace(request, parts={}))] if baseline else []
    return [*done, evaluate_model(model, config, request)]


def evaluate_model(name: str, config: RunConfig, request: EvaluateRequest) -> Path:
    """Evaluate one model, loaded and sampled as a run's settings say; returns the folder of its results."""
    from safediffusion.evaluation.results import rescore, result_folders
    from safediffusion.evaluation.runner import EvaluationOptions, evaluate
    from safediffusion.evaluation.sources import names_source
    from safediffusion.evaluation.tasks import get_task

    judged = holds_results(name)
    if request.parts and (judged or names_source(name)):
        raise UserError(f"{ONLY_MODELS}, and {name} is none")
    if judged:
        for task in request.tasks:
            get_task(task)  # one from outside the package is known by its name from here on
        request.check_limits([folder.name for folder in result_folders(Path(name))])
        rescore(Path(name), request.protocols)
        return Path(name)
    settings, folder = config.evaluate, request.folder(name_with(model_path(name), request.parts))
    how = loading(config, name).model_copy(update={"tiny_vae": None})
    options = EvaluationOptions.of(settings, request.limit)
    model = name if names_source(name) else load_with(how, request.parts) if request.parts else how
    evaluate(model, request.tasks or settings.tasks, folder, options, **request.options)
    return folder


def refuse_sampler(name: str, sampler: Sampler) -> None:
    """Refuse settings of the sampler for images that exist already."""
    if sampler.given:
        options = " and ".join(f"--{option}" for option in sampler.given)
        raise UserError(
            f"{options} would change how images are sampled, and {name} holds images or results that exist "
            f"already; leave {options} out"
        )


def holds_results(name: str) -> bool:
    """Whether a path is a folder of results, whose records are scored again."""
    from safediffusion.evaluation.results import result_folders

    return bool(result_folders(Path(name)))


def evaluate_folder(images: Path, request: EvaluateRequest) -> list[Path]:
    """Evaluate a folder of images; the prompts of each task are those that they were sampled from."""
    from safediffusion.evaluation.failures import AllFailed
    from safediffusion.evaluation.runner import evaluate_images

    if request.parts:
        raise UserError(f"{ONLY_MODELS}, and --images {images} holds images")
    refuse_sampler(f"--images {images}", request.sampler)
    request.check_limits(request.tasks or ("images",))
    folder = request.folder(images.name)
    failed: list[AllFailed] = []
    for task in request.tasks or ("images",):
        try:
            evaluate_images(images, task=task, out=folder, **request.options)
        except AllFailed as error:  # other tasks may find images for their prompts
            failed.append(error)
    if failed:
        raise AllFailed("; ".join(map(str, failed)))
    return [folder]


def check_one_source(model: str | None, images: Path | None) -> None:
    """Refuse anything but exactly one of a model and a folder of images.

    Raises:
        UserError: none or both are given.
    """
    if (model is None) == (images is None):
        raise UserError("give either a MODEL to sample from, or --images DIR with existing images")
