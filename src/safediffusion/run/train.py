"""A whole run: evaluate, train, evaluate again, summarise and report. A run that was stopped is resumed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safediffusion.config import RunConfig
from safediffusion.files.checked import write_checked
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.order import source_sizes
from safediffusion.prompts.select import Prompt
from safediffusion.run.preflight import check_config, check_labels, check_machine, check_model
from safediffusion.run.prompts import run_prompts
from safediffusion.run.session import (
    Session,
    choose_folder,
    claimed,
    explained_failures,
    is_finished,
    logged,
    resumable,
    run_root,
)
from safediffusion.run.stopwatch import Stopwatch
from safediffusion.system import distributed
from safediffusion.system.device import device_name, free_memory, pick_device
from safediffusion.system.progress import progress

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser
    from safediffusion.steering.reward import Rewards
    from safediffusion.training.trainer import TrainResult

log = logging.getLogger(__name__)


def train(config: RunConfig, out: Path | None = None, fresh: bool = False) -> RunFolder:
    """Train a model and evaluate it before and after; a run that was stopped goes on where it stopped.

    Args:
        config: all settings of the run.
        out: the run folder; None is runs/RECIPE.
        fresh: start a new run in a new folder, RUN-2 or so, if the run folder exists.

    Returns:
        The run folder, with the trained model, the summary and the report.

    Raises:
        UserError: a setting cannot work, or the folder holds something else. Nothing is written.
        RunError: the run cannot go on, for example for lack of memory. The same call resumes it.

    Examples:
        >>> from safediffusion import load_config, train
        >>> sizes = ["train.steps=1", "rollout.group_size=2", "rollout.steps=2", "evaluate.steps=2"]
        >>> config = load_config("world", [*sizes, "evaluate.tasks=[]"])
        >>> folder = train(config)  # a run of one round; leave the settings out for the whole recipe
        >>> folder.report.is_file()
        True
    """
    from safediffusion.run.evaluations import evaluate_run
    from safediffusion.run.inputs import write_inputs
    from safediffusion.run.rounds import train_rounds

    distributed.initialize()
    folder = choose_folder(config, run_root(config, out), fresh)
    with logged(folder):
        finished = is_finished(folder)
    if finished:
        log.warning("%s is finished; --fresh starts a new run in a new folder", folder.root)
        return folder
    device = pick_device()
    with progress("load", 1):
        prompts = run_prompts(config, folder)
        diffuser, rewards = load(config, prompts.rows, device)
    # All processes choose the folder before one of them writes to it: otherwise a slow process could see
    # the run that a fast one has begun, and choose another folder with `fresh`.
    distributed.barrier()
    with claimed(folder, config), explained_failures(folder), resumable(folder):
        session = Session(config, folder, device, Stopwatch(folder.progress, device))
        write_inputs(folder, prompts, diffuser, rewards, config.model.path == "world")
        distributed.barrier()  # all processes read what was held out
        evaluate_run(session, "before", diffuser)
        result = train_rounds(session, diffuser, rewards, prompts.rows)
        del diffuser, rewards
        free_memory()
        evaluate_run(session, "after", folder.model)
        if distributed.is_main():
            write_summary(session, result)
        distributed.shut_down()
    return folder


def load(config: RunConfig, prompts: Sequence[Prompt], device: str) -> tuple[Diffuser, Rewards]:
    """Load the model and the rewards.

    Raises:
        UserError: settings, prompts, machine and model do not fit together. Nothing is written yet.
    """
    from safediffusion.diffusion.load import load_model
    from safediffusion.steering.build import build_rewards

    check_config(config, source_sizes(prompts))
    check_labels(config, prompts)
    check_machine(config, device)
    diffuser = load_model(config.model, device)
    check_model(config, diffuser, distributed.count())
    return diffuser, build_rewards(config.reward, device, config.model.offload, prompts)


def write_summary(session: Session, result: TrainResult) -> None:
    """Write summary.json, then the report, which reads it."""
    from safediffusion.report.report import write_report
    from safediffusion.run.evaluations import saved_values

    config, folder, watch = session.config, session.folder, session.watch
    watch.save()
    summary = {
        "status": result.status,
        "recipe": config.recipe,
        "seconds": round(watch.seconds, 1),
        "train_seconds": round(result.seconds, 1),
        "device": device_name(session.device),
        "processes": distributed.count(),
        "images": result.images,
        "updates": result.updates,
        "peak_memory_mib": watch.peak_mib,
        "collapsed_at": result.collapsed_at,
        "before": saved_values(folder, "before", config.evaluate.tasks),
        "after": saved_values(folder, "after", config.evaluate.tasks),
    }
    write_checked(folder.summary, summary)
    write_report(folder)
