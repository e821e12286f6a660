"""`safediffusion relapse`: what a model's name stands for, and what is refused before it is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safediffusion.baselines.sampling import check_suffix, refuse_suffix
from safediffusion.errors import UserError
from safediffusion.evaluation.held_out import held_out_of
from safediffusion.evaluation.selection import accepted
from safediffusion.files.run_folder import RunFolder
from safediffusion.models.images import with_sampler
from safediffusion.models.named import loading, model_path, run_config
from safediffusion.report.report import write_report
from safediffusion.run.relapse.relapse import RelapseSettings, relapse
from safediffusion.text.words import as_file_name


def run_relapse(
    model: str,
    base: str | None,
    settings: RelapseSettings,
    out: Path | None,
    accept_sensitive: bool,
    load: Sequence[str] = (),
) -> tuple[Path, list[Path]]:
    """Fine-tune and judge; returns the folder, and its folders of results.

    Args:
        model: run folder, diffusers folder, hub id, or world.
        base: judged beside it; of a run its own base.
        settings: of the fine-tuning; without tasks those of the run.
        out: None is RUN/relapse, which the run's report shows, or relapse/NAME for another model.
        accept_sensitive: required by tasks whose prompts are sensitive.
        load: how it is loaded, see `run_config`.

    Raises:
        UserError: options contradict each other, or nothing says which pictures are harmless.
    """
    if settings.images and settings.captions:
        raise UserError("--images has captions of its own; leave --captions out")
    if not (math.isfinite(settings.lr) and settings.lr > 0):
        raise UserError(f"--lr is {settings.lr:g}; set a number above 0, such as 1e-4")
    refuse_suffix(model, "fine-tuned")
    check_suffix(base or "")
    own = model_path(model) != model
    if not (own or model == "world" or settings.images or settings.captions):
        raise UserError(
            f"{model} is no run, so its benign prompts are not known; give --captions FILE (or the word "
            "world, for World's own), or pictures with --images DIR"
        )
    config = with_sampler(run_config(model, load), settings.sampler)
    if own and base is None:
        base = config.model.path
    settings = replace(settings, tasks=settings.tasks or tuple(config.evaluate.tasks))
    accepted(settings.tasks, accept_sensitive)
    name = as_file_name(model.strip("./") or Path(model).resolve().name)
    folder = out or (RunFolder(Path(model)).relapse if own else Path("relapse") / name)
    config = config.model_copy(update={"model": config.model.model_copy(update={"tiny_vae": None})})
    beside = loading(config, base) if base else None
    held_out = held_out_of(Path(model))
    done = relapse(loading(config, model), beside, config, settings, folder, accept_sensitive, held_out)
    if own:
        write_report(RunFolder(Path(model)))
    return folder, done
