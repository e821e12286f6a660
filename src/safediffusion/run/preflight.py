"""Everything that can be wrong with a run, refused before it writes anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.prompts.order import considered_prompts
from safediffusion.run.trackers import check_watchers
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.optimizer import check_optimizer

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser


def check_config(config: RunConfig, sizes: Sequence[int]) -> None:
    """What needs neither the model nor the machine; `sizes` are the prompts of every source."""
    get_algorithm(config.train.algorithm).check(config)
    check_prompts(config, sizes)
    check_tasks(config.evaluate.tasks)
    check_kept(config)


def check_machine(config: RunConfig, device: str) -> None:
    """What has to be installed, or in reach of this device; a run is planned where it need not be."""
    check_watchers(config.watch)
    check_optimizer(config.train.optimizer, device)


def check_model(config: RunConfig, diffuser: Diffuser, count: int) -> None:
    """What depends on the model, and on how many processes share it."""
    check_steps(config, diffuser)
    check_processes(config, diffuser, count)


def check_steps(config: RunConfig, diffuser: Diffuser) -> None:
    """Refuse more denoising steps than the model's noise schedule has."""
    most = diffuser.scheduler.config["num_train_timesteps"]
    for key, steps in (("rollout.steps", config.rollout.steps), ("evaluate.steps", config.evaluate.steps)):
        if steps > most:
            raise UserError(
                f"{key} is {steps}, but the model's scheduler has {most}; set {key} to {most} or less"
            )


def check_prompts(config: RunConfig, sizes: Sequence[int]) -> None:
    """Refuse a round of more prompts than a source has."""
    r = config.rollout
    considered_prompts(sizes, config.prompts.weights, config.seed, 0, r.prompts, r.considered)


def check_processes(config: RunConfig, diffuser: Diffuser, count: int) -> None:
    """Refuse more processes than prompts, and pieces of a network whose processes would not keep step."""
    prompts, train = config.rollout.prompts, config.train
    if count > prompts:
        raise UserError(
            f"rollout.prompts is {prompts}, but each of {count} processes needs a prompt; "
            f"set rollout.prompts={count} or more, or start fewer processes"
        )
    if count == 1 or not train.shard:
        return
    if prompts % count:
        raise UserError(
            "train.shard needs as many prompts in every process; "
            f"set rollout.prompts to {prompts // count * count}"
        )
    if prompts // count * config.rollout.group_size % train.updates:
        raise UserError(
            f"train.shard needs as many images in every process and optimizer step; set train.updates to a "
            f"divisor of {prompts // count * config.rollout.group_size}"
        )
    if train.optimizer != "adamw" or diffuser.dtype == torch.float16:
        raise UserError(
            "train.shard works with train.optimizer=adamw, and with model.dtype=bf16 or fp32; set these"
        )


def check_tasks(names: Sequence[str]) -> None:
    """Refuse tasks that do not exist, and those that need more than a run gives them."""
    from safediffusion.evaluation.runner import accepted
    from safediffusion.evaluation.tasks import get_task

    for name in names:
        if ":" in name:
            raise UserError(
                f"evaluate.tasks cannot have {name}: a run stores results by its own tasks; evaluate "
                "the run afterwards, with `safediffusion evaluate`"
            )
    for task in map(get_task, names):
        try:
            accepted([task.name], accept_sensitive=False)
            task.prompts(1, seed=0)
        except UserError as error:
            raise UserError(
                f"evaluate.tasks cannot have {task.name} ({error}); judge the run afterwards, with "
                "`safediffusion evaluate`"
            ) from error


def check_kept(config: RunConfig) -> None:
    """Refuse to keep the best by a metric that the small evaluations do not have."""
    from safediffusion.evaluation.tasks import get_task

    wanted = (config.train.keep_best or "").removeprefix("-")
    known = [
        f"{name}/{measure.name}" for name in config.evaluate.tasks for measure in get_task(name).measures
    ]
    if "/" in wanted and wanted not in known:
        raise UserError(f"train.keep_best is {wanted}, which is not measured; known: {', '.join(known)}")
