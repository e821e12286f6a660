"""Checks of a run before it writes anything. Each check raises a UserError that says what to set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from safediffusion.baselines.sampling import refuse_suffix
from safediffusion.config import RunConfig
from safediffusion.diffusion.activation_steering import cross_attention
from safediffusion.diffusion.adapters import check_targets
from safediffusion.errors import UserError
from safediffusion.prompts.order import considered_prompts
from safediffusion.prompts.select import Prompt
from safediffusion.run.trackers import check_trackers
from safediffusion.steering.safe_twins import concepts_of
from safediffusion.text.escaping import shorten
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.optimizer import check_optimizer
from safediffusion.training.steered_sampling import refuse_steered

if TYPE_CHECKING:
    from safediffusion.diffusion.diffuser import Diffuser


def check_config(config: RunConfig, sizes: Sequence[int] | None) -> None:
    """Check the settings by themselves and with the prompts.

    Args:
        config: the settings of the run.
        sizes: number of prompts per source; None where they are not known yet.
    """
    refuse_suffix(config.model.path, "trained")
    algorithm = get_algorithm(config.train.algorithm)
    algorithm.check(config)
    refuse_steered(config, algorithm)
    if sizes is not None:
        check_prompts(config, sizes)
    check_tasks(config.evaluate.tasks)
    check_kept(config)


def check_labels(config: RunConfig, prompts: Sequence[Prompt]) -> None:
    """Check that the prompts have what is needed to steer a share of their groups, or pairs to learn from."""
    if config.rollout.steered:
        concepts_of(prompts)
    if config.train.dpo_pairs == "given":
        check_pairs(prompts)


def check_pairs(prompts: Sequence[Prompt]) -> None:
    """Check that every prompt names a pair of images that are there."""
    for prompt in prompts:
        if prompt.pair is None:
            raise UserError(
                f"train.dpo_pairs=given learns from pairs of images, and {shorten(prompt.text)} has none; "
                "give prompts.path a table with the columns prompt, chosen and rejected"
            )
        for path in prompt.pair:
            if not path.is_file():
                raise UserError(f"{path} is not there; it is in a pair of the prompts' table")


def check_machine(config: RunConfig, device: str) -> None:
    """Check that trackers and optimizer work on this machine; a dry run does not need this."""
    check_trackers(config.watch)
    check_optimizer(config.train.optimizer, device)


def check_model(config: RunConfig, diffuser: Diffuser, count: int) -> None:
    """Check the settings that depend on the model and on the number of processes, `count`."""
    check_steps(config, diffuser)
    if config.rollout.steered:
        cross_attention(diffuser.network)
    check_targets(diffuser.network, diffuser.lora_targets, config.train.lora_targets)
    for guidance in (config.rollout.guidance, config.evaluate.guidance):
        diffuser.refuse_guidance(guidance)
    check_processes(config, diffuser, count)


def check_steps(config: RunConfig, diffuser: Diffuser) -> None:
    """Check that the model's noise schedule has enough timesteps for the denoising steps."""
    most = diffuser.scheduler.config["num_train_timesteps"]
    for key, steps in (("rollout.steps", config.rollout.steps), ("evaluate.steps", config.evaluate.steps)):
        if steps > most:
            raise UserError(
                f"{key} is {steps}, but the model's scheduler has {most}; set {key} to {most} or less"
            )


def check_prompts(config: RunConfig, sizes: Sequence[int]) -> None:
    """Check that every source has enough prompts for a round."""
    r = config.rollout
    considered_prompts(sizes, config.prompts.weights, config.seed, 0, r.prompts, r.considered)


def check_processes(config: RunConfig, diffuser: Diffuser, count: int) -> None:
    """Check that every process gets prompts and, with a sharded network, as many as the others.

    The processes of a sharded network gather its weights together in every call, so all of them have to
    make the same number of calls.
    """
    prompts, train = config.rollout.prompts, config.train
    if count > prompts:
        raise UserError(
            f"rollout.prompts is {prompts}, but each of the {count} processes needs a prompt; "
            f"set rollout.prompts={count} or more, or start fewer processes"
        )
    if count == 1 or not train.shard:
        return
    if prompts % count:
        raise UserError(
            "train.shard needs the same number of prompts in every process; "
            f"set rollout.prompts to {prompts // count * count}"
        )
    if prompts // count * config.rollout.group_size % train.updates:
        raise UserError(
            f"train.shard needs the same number of images in every process and optimizer step; "
            f"set train.updates to a divisor of {prompts // count * config.rollout.group_size}"
        )
    if train.optimizer != "adamw" or diffuser.dtype == torch.float16:
        raise UserError(
            "train.shard works with train.optimizer=adamw, and with model.dtype=bf16 or fp32; set these"
        )


def check_tasks(names: Sequence[str]) -> None:
    """Check that the evaluation tasks exist and need no file or consent that a run does not give."""
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
            if not task.of_run:
                task.prompts(1, seed=0)
        except UserError as error:
            raise UserError(
                f"a run cannot evaluate {task.name} ({error}); take it out of evaluate.tasks and run "
                "`safediffusion evaluate` after the training"
            ) from error


def check_kept(config: RunConfig) -> None:
    """Check that the small evaluations yield the metric of train.keep_best."""
    from safediffusion.evaluation.tasks import get_task

    wanted = (config.train.keep_best or "").removeprefix("-")
    known = [
        f"{name}/{measure.name}" for name in config.evaluate.tasks for measure in get_task(name).measures
    ]
    if "/" in wanted and wanted not in known:
        raise UserError(
            f"train.keep_best is {wanted}, which is not a metric of evaluate.tasks; known: {', '.join(known)}"
        )
