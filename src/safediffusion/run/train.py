"""A whole run, top to bottom: judge, train, judge again, summarise, report; or go on where it stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safediffusion.config import RunConfig
from safediffusion.files.atomic import write_text
from safediffusion.files.checked import is_whole, read_json, write_checked
from safediffusion.files.contents import Anchors, Results, Step
from safediffusion.files.json_lines import readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.order import source_sizes
from safediffusion.prompts.select import Prompt, PromptSet, load_prompts, report_cut
from safediffusion.run.preflight import check_config, check_machine, check_model
from safediffusion.run.session import choose_folder, claimed, failures, is_finished, noted, resumable
from safediffusion.run.stopwatch import Stopwatch
from safediffusion.run.trackers import tracker, watching
from safediffusion.steering.check_record import by_label, record
from safediffusion.system import distributed
from safediffusion.system.device import device_name, pick_device
from safediffusion.system.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from safediffusion.diffusion.diffuser import Diffuser
    from safediffusion.steering.reward import Rewards
    from safediffusion.training.trainer import Trainer, TrainResult

log = logging.getLogger(__name__)


def train(config: RunConfig, out: Path | None = None, fresh: bool = False) -> RunFolder:
    """Bring a run from wherever it stands to its report.

    Args:
        config: what to do.
        out: the run folder; None is runs/RECIPE.
        fresh: start over in a new folder beside an existing one.
    """
    distributed.initialize()
    folder = choose_folder(config, out or Path("runs") / config.recipe, fresh)
    with noted(folder):
        finished = is_finished(folder)
    if finished:
        log.warning("%s is finished; --fresh starts over in a new folder", folder.root)
        return folder
    device = pick_device()
    with progress("load", 1):
        found = load_prompts(config.prompts)
        prompts = found.rows
        diffuser, rewards = load(config, prompts, device)
    distributed.barrier()  # all have chosen the folder before one writes to it
    with claimed(folder, config), failures(folder), resumable(folder):
        watch = Stopwatch(folder.progress, device)
        if distributed.is_main():
            write_prompts(found, diffuser, rewards, folder)
            with progress("check anchors", 1):
                write_anchors(rewards, prompts, folder)
        judge("before", diffuser, config, folder, watch)
        result = run_trainer(config, diffuser, rewards, prompts, folder, device, watch)
        judge("after", folder.model, config, folder, watch)
        if distributed.is_main():
            finish(config, folder, device, watch, result)
        distributed.shut_down()
    return folder


def load(config: RunConfig, prompts: list[Prompt], device: str) -> tuple[Diffuser, Rewards]:
    """Model and rewards, with everything checked that can be wrong before anything is written."""
    from safediffusion.diffusion.load import load_diffuser
    from safediffusion.steering.build import build_rewards

    check_config(config, source_sizes(prompts))
    check_machine(config, device)
    diffuser = load_diffuser(config.model, device)
    check_model(config, diffuser, distributed.count())
    return diffuser, build_rewards(config.reward, device, config.model.offload)


def write_prompts(prompts: PromptSet, diffuser: Diffuser, rewards: Rewards, folder: RunFolder) -> None:
    """prompts.json: how many of which kind there are, what was left out, and what each encoder cuts."""
    from safediffusion.steering.reward import ClipReward

    if is_whole(folder.prompts):
        return
    words = diffuser.pipeline.tokenizer
    readers: dict[str, tuple[Callable[[str], int], int]] = {
        "the model": (lambda text: len(words(text).input_ids), words.model_max_length)
    }
    for part in rewards.parts:
        if isinstance(part.function, ClipReward):
            encoder = part.function.encoder
            readers[f"reward {part.name}"] = (encoder.count_tokens, encoder.context)
    cut = {name: report_cut(prompts.rows, name, *reader) for name, reader in readers.items()}
    write_checked(folder.prompts, prompts.report() | {"cut": cut})


def write_anchors(rewards: Rewards, prompts: list[Prompt], folder: RunFolder) -> None:
    """anchors.json: the phrases that steer, and how well their direction separates this run's prompts."""
    from safediffusion.steering.check import check_policy
    from safediffusion.steering.reward import SteeringReward

    steering = [part.function for part in rewards.parts if isinstance(part.function, SteeringReward)]
    if not steering or is_whole(folder.anchors, Anchors):
        return
    reward = steering[0]
    policy = reward.direction.policy
    safe, unsafe = by_label(prompts)
    separation = len(safe) > 1 and len(unsafe) > 1  # a file without labels leaves nothing to separate
    with reward.encoder.awake():
        found = record(check_policy(policy, reward.encoder, safe, unsafe)) if separation else {}
    direction = folder.root / "direction.safetensors"
    reward.direction.save(direction)
    write_checked(folder.anchors, asdict(policy) | {"encoder": reward.direction.encoder} | found, [direction])


def recogniser(config: RunConfig, device: str) -> Callable[[Tensor], float] | None:
    """Share of recognisable images for the collapse alarm; only World has a judge that knows."""
    if not any(name.startswith("world-") for name in config.evaluate.tasks):
        return None
    from safediffusion.evaluation.detectors.world import Harm

    return Harm(device).recognisable


def judge(when: str, model: Diffuser | Path, config: RunConfig, folder: RunFolder, watch: Stopwatch) -> None:
    """Evaluate into eval/WHEN; tasks whose results an earlier session left whole are kept."""
    e = config.evaluate
    from safediffusion.evaluation.records import remove_parts
    from safediffusion.evaluation.results import is_judged
    from safediffusion.evaluation.tasks import get_task

    versions = {name: get_task(name).version for name in e.tasks}
    missing = [name for name in e.tasks if not is_judged(folder.eval_path(when, name), versions[name])]
    for name in set(e.tasks) - set(missing):
        remove_parts(folder.eval_path(when, name))  # a kill may have come between results and this
    if missing:
        from safediffusion.diffusion.load import load_diffuser
        from safediffusion.evaluation.runner import evaluate

        with watch.phase(f"evaluate {when}"):
            if isinstance(model, Path):
                trained = config.model.model_copy(update={"path": str(model)})
                model = load_diffuser(trained, pick_device(), merged=True)
            evaluate(model, missing, e.n, e.seed, e.steps, e.guidance, folder.eval_path(when), eta=e.eta)


def run_trainer(
    config: RunConfig,
    diffuser: Diffuser,
    rewards: Rewards,
    prompts: list[Prompt],
    folder: RunFolder,
    device: str,
    watch: Stopwatch,
) -> TrainResult:
    """Train with a progress line, the time kept, and small evaluations on the way."""
    from safediffusion.training.trainer import Trainer

    trainer = Trainer(
        config, diffuser, rewards, prompts, folder, device, recognisable=recogniser(config, device)
    )
    trackers = [tracker(name, folder) for name in config.watch] if distributed.is_main() else []
    later = watch.phases.get("evaluate before", 0.0)  # judging again will take as long
    with (
        watch.phase("train"),
        watching(trackers, config) as show,
        progress("train", config.train.steps, later=later) as line,
    ):

        def on_step(row: dict[str, Any]) -> None:
            if not line.n:
                line.initial = line.n = row["step"] - 1
            line.set_postfix_str(f"reward {row['reward_mean']:.3f}", refresh=False)
            line.update()
            watch.save()
            show(row)
            if config.evaluate.during_every and row["step"] % config.evaluate.during_every == 0:
                trainer.values |= judge_during(trainer, row["step"])

        trainer.on_step, trainer.on_phase = on_step, line.name_phase
        return trainer.run()


def judge_during(trainer: Trainer, step: int) -> dict[str, float]:
    """A small evaluation of the weights as they are, as one line of eval/during.jsonl and as values."""
    from safediffusion.evaluation.runner import evaluate

    e, folder = trainer.config.evaluate, trainer.folder
    path = folder.eval_path("during.jsonl")
    with trainer.learner.evaluation_weights():
        results = evaluate(
            trainer.diffuser,
            e.tasks,
            e.during_n,
            e.seed,
            e.steps,
            e.guidance,
            folder.eval_path("during"),
            eta=e.eta,
            on_progress=lambda done, total: None,  # the training line is on screen
        )
    found = values(results)
    if distributed.is_main():
        rows = [row for row in readable_rows(path, Step) if row["step"] < step]  # a resumed run redoes steps
        write_text(path, "".join(json.dumps(row) + "\n" for row in [*rows, {"step": step, **found}]))
    return found


def values(results: dict[str, Any]) -> dict[str, float]:
    """TASK/METRIC and its value, from the results of several tasks."""
    return {
        f"{task}/{name}": metric["value"]
        for task, result in results.items()
        for name, metric in result["metrics"].items()
    }


def saved_values(folder: RunFolder, when: str, tasks: list[str]) -> dict[str, float]:
    """The same from eval/WHEN on disk."""
    paths = {task: folder.eval_path(when, task, "results.json") for task in tasks}
    return values({task: read_json(path, Results) for task, path in paths.items() if path.exists()})


def finish(config: RunConfig, folder: RunFolder, device: str, watch: Stopwatch, result: TrainResult) -> None:
    """summary.json, then the report, which reads it."""
    from safediffusion.report.report import write_report

    watch.save()
    summary = {
        "status": result.status,
        "recipe": config.recipe,
        "seconds": round(watch.seconds, 1),
        "train_seconds": round(result.seconds, 1),
        "device": device_name(device),
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
