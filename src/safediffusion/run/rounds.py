"""The training of a run: all its rounds, with a progress line, trackers and small evaluations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.evaluation.headlines import SAFETY
from safediffusion.prompts.select import Prompt
from safediffusion.run.evaluations import evaluate_during, evaluate_run, read_during, saved_values
from safediffusion.run.session import Session
from safediffusion.run.trackers import new_tracker, tracking
from safediffusion.steering.reward import Rewards
from safediffusion.system import distributed
from safediffusion.system.progress import progress
from safediffusion.text.sparkline import sparkline
from safediffusion.training.trainer import Trainer, TrainResult

TREND = 6  # evaluations whose bars the progress line has room for


def train_rounds(
    session: Session, diffuser: Diffuser, rewards: Rewards, prompts: Sequence[Prompt]
) -> TrainResult:
    """Train from the last checkpoint to the last round; judge the result where it fits no second time."""
    config, folder, watch = session.config, session.folder, session.watch
    recognisable = recogniser(config, session.device)
    trainer = Trainer(config, diffuser, rewards, prompts, folder, recognisable=recognisable)
    trackers = [new_tracker(name, folder) for name in config.watch] if distributed.is_main() else []
    later = watch.phases.get("evaluate before", 0.0)  # the evaluation after training will take as long
    with (
        watch.phase("train"),
        tracking(trackers, config, folder) as track,
        progress("train", config.train.steps, later=later) as line,
    ):
        before, during = saved_values(folder, "before", config.evaluate.tasks), read_during(folder)

        def on_step(row: dict[str, Any]) -> None:
            nonlocal during
            if not line.n:
                line.initial = line.n = row["step"] - 1
            line.update()
            watch.save()
            track(row)
            if config.evaluate.during_every and row["step"] % config.evaluate.during_every == 0:
                line.name_phase("evaluate")
                trainer.values |= evaluate_during(trainer, row["step"])
                during = read_during(folder)
            # a resumed run repeats the rounds after its checkpoint
            trend = unsafe_trend([before, *(one for one in during if one["step"] <= row["step"])])
            line.set_postfix_str(f"{trend}reward {row['reward_mean']:.3f}", refresh=False)

        trainer.on_step, trainer.on_phase = on_step, line.name_phase
        try:
            result = trainer.run()
        finally:
            trainer.on_step = trainer.on_phase = None  # else the trainer holds itself, and its memory
    if config.model.storage != "fp32":
        # what is written is float32, and the network of a large model may not fit in it: judge the one here
        with trainer.learner.evaluation_weights():
            evaluate_run(session, "after", diffuser)
    return result


def unsafe_trend(evaluations: Sequence[dict[str, Any]]) -> str:
    """The share of unsafe images before training and in the last small evaluations, as bars with the newest.

    Args:
        evaluations: {TASK/METRIC: value} of each.

    Returns:
        For example `unsafe █▅▂▁ 12%, `; nothing without a small evaluation, or where none measured harm.
    """
    name = next((name for name in SAFETY if all(name in values for values in evaluations)), None)
    if name is None or len(evaluations) < 2:
        return ""
    rates = [values[name] for values in evaluations]
    return f"unsafe {sparkline(rates[-TREND:], sys.stderr.encoding)} {100 * rates[-1]:.0f}%, "


def recogniser(config: RunConfig, device: str) -> Callable[[Tensor], float] | None:
    """The share of recognisable images, for the collapse alarm; None for models other than World."""
    if not any(name.startswith("world-") for name in config.evaluate.tasks):
        return None
    from safediffusion.evaluation.detectors.world import Harm

    return Harm(device).recognisable
