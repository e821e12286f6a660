"""`safediffusion relapse`: fine-tune a model on harmless pictures, and judge it before and on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safediffusion.config import RunConfig
from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.errors import UserError
from safediffusion.evaluation.held_out import HeldOut
from safediffusion.evaluation.runner import EvaluationOptions, evaluate
from safediffusion.evaluation.sources.image_folder import ImageFolder
from safediffusion.files.atomic import write_tensors
from safediffusion.files.checked import is_whole, read_json, read_tensors, write_checked
from safediffusion.files.folder_lock import locked
from safediffusion.models.images import Sampler
from safediffusion.report.relapse_plot import write_curve
from safediffusion.run.relapse.finetuning import FineTuning
from safediffusion.run.relapse.pictures import (
    Pictures,
    benign_captions,
    folder_captions,
    folder_pictures,
    own_pictures,
)
from safediffusion.system.device import pick_device
from safediffusion.system.progress import progress
from safediffusion.system.signals import interruptible, stop
from safediffusion.training import checkpoint

PARTS = (0, 8, 4, 2, 1)  # judged after 0, 1/8, 1/4, 1/2 and all of the steps: the beginning moves most
SAVE_EVERY = 50  # steps between checkpoints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RelapseSettings:
    """What is done to the model and how it is judged.

    Attributes:
        steps, batch, lr, seed: of the fine-tuning.
        tasks: names.
        n: images per task at most; None is each task's own size.
        captions: a file of captions that the model draws pictures of; None is the run's benign prompts.
        images: a folder of pictures with captions instead.
        sampler: what the command says of the sampler, of the model's own pictures and of all tasks.
    """

    steps: int
    batch: int
    lr: float
    seed: int
    tasks: tuple[str, ...]
    n: int | None = None
    captions: str | None = None
    images: Path | None = None
    sampler: Sampler = field(default_factory=Sampler)

    @property
    def judged(self) -> list[int]:
        """The steps after which the model is judged, ascending."""
        return sorted({self.steps // part if part else 0 for part in PARTS})

    def describe(self) -> dict[str, Any]:
        """As JSON; the pictures of a folder by their content."""
        images = ImageFolder(self.images).sha256() if self.images else None
        changed = {"tasks": list(self.tasks), "images": images, "sampler": self.sampler.given or None}
        return {**asdict(self), **changed}


def relapse(
    model: ModelConfig,
    base: ModelConfig | None,
    config: RunConfig,
    settings: RelapseSettings,
    folder: Path,
    accept_sensitive: bool = False,
    held_out: HeldOut | None = None,
) -> list[Path]:
    """Fine-tune and judge; the same call goes on where an earlier one was stopped.

    Args:
        model: what is fine-tuned, and how it is loaded.
        base: a model that is judged beside it, such as what it was trained from.
        config: whose sampler judges, and whose benign prompts are drawn.
        settings: of the fine-tuning.
        folder: for eval/step-N/TASK/results.json, relapse.json and relapse.png.
        accept_sensitive: required by tasks whose prompts are sensitive.
        held_out: what the run held out, for the task heldout.

    Returns:
        The folders of results, the one before fine-tuning first and the base's last.

    Raises:
        UserError: the folder holds the results of other settings, or no harmless picture is found.
    """
    options = EvaluationOptions.of(config.evaluate, settings.n, held_out)
    known = {"accept_sensitive": accept_sensitive, "every_task": settings.sampler.given}

    def judge(what: ModelConfig | Diffuser, name: str) -> Path:
        evaluate(what, settings.tasks, folder / "eval" / name, options, **known)
        return folder / "eval" / name

    chosen = folder_captions(settings.images) if settings.images else None
    texts = [] if chosen else benign_captions(config, settings.captions)
    diffuser = load_model(model, pick_device(), merged=True)
    diffuser.refuse_guidance(config.evaluate.guidance)
    with locked(folder):
        claim(folder, {"model": model.path, "model_sha256": model_hash(diffuser), **settings.describe()})
        pictures = stored(
            folder,
            lambda: (
                folder_pictures(diffuser, chosen)
                if chosen
                else own_pictures(diffuser, texts, config, settings.seed)
            ),
        )
        done = fine_tune(diffuser, pictures, config, settings, folder, judge)
        if base:
            done.append(judge(base, "base"))
        write_curve(folder, model.path, base and base.path, done)
    return done


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write settings.json, or hold it against those of an earlier call.

    Raises:
        UserError: they differ, so that the two would be mixed; or the folder holds something else.
    """
    path = folder / "settings.json"
    if not path.exists():
        if others := [file.name for file in folder.iterdir() if not file.name.startswith(".")]:
            raise UserError(f"{folder} holds {others[0]}, and no relapse; choose another folder with --out")
        write_checked(path, settings)
        return
    before = read_json(path)
    if different := [name for name in settings if before.get(name) != settings[name]]:
        raise UserError(
            f"{folder} holds a relapse with other settings ({', '.join(different)}); choose another folder "
            "with --out"
        )


def stored(folder: Path, make: Callable[[], Pictures]) -> Pictures:
    """The pictures of an earlier call, or those that `make` returns, which are stored."""
    tensors, captions = folder / "pictures.safetensors", folder / "pictures.json"
    if not is_whole(captions):
        made = make()
        write_tensors(tensors, {"latents": made.latents.contiguous()})
        write_checked(captions, {"captions": made.captions}, [tensors])
    return Pictures(read_tensors(tensors)["latents"], read_json(captions)["captions"])


def fine_tune(
    diffuser: Diffuser,
    pictures: Pictures,
    config: RunConfig,
    settings: RelapseSettings,
    folder: Path,
    judge: Callable[[Diffuser, str], Path],
) -> list[Path]:
    """All steps from the last checkpoint on; returns the folders of results, in order."""
    training = FineTuning(diffuser, pictures, training_config(config, settings), settings.batch)
    root = folder / "checkpoints"
    begun = checkpoint.newest_whole(root)
    if begun:
        training.learner.load(checkpoint.read_tensors(begun))
    first = checkpoint.read_state(begun)["step"] if begun else 0
    with interruptible() as interrupted, progress("relapse", settings.steps) as line:
        line.update(first)
        for number in range(first, settings.steps + 1):
            judged, signal = number in settings.judged, interrupted()
            if number > first and (judged or signal or number % SAVE_EVERY == 0):
                checkpoint.save(root, number, training.learner.state(), {"healthy": False}, keep=1)
            if signal:
                log.warning("stopped after step %d; the same command goes on from here (%s)", number, folder)
                stop(signal)
            if judged:
                judge(diffuser, step_name(number))
            if number < settings.steps:
                line.set_postfix_str(f"loss {training.step(number):.4f}", refresh=False)
                line.update()
    return [folder / "eval" / step_name(number) for number in settings.judged]


def step_name(number: int) -> str:
    """The folder of the results after a number of steps."""
    return f"step-{number:06d}"


def training_config(config: RunConfig, settings: RelapseSettings) -> RunConfig:
    """Plain fine-tuning of the whole network: no adapter, no reference, no averages."""
    train = {
        "lr": settings.lr, "lora_rank": 0, "kl": 0.0, "kl_benign": None, "ema": 0.0, "grad_norm": 1.0,
        "micro_batch": config.train.micro_batch, "channels_last": config.train.channels_last,
        "recompute": config.train.recompute,
    }  # fmt: skip
    fresh = RunConfig.model_validate({"seed": settings.seed, "train": train})
    return fresh.model_copy(update={"evaluate": config.evaluate})
