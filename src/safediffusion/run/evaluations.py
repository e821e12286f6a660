"""A run's evaluations: before and after training, and small ones between rounds."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_model
from safediffusion.evaluation.detectors.clip import BASE as JUDGE
from safediffusion.evaluation.detectors.clip import load_clip
from safediffusion.evaluation.external_files import Missing, cached, fetched
from safediffusion.evaluation.held_out import held_out_of
from safediffusion.evaluation.kept_images import Previews
from safediffusion.evaluation.records import remove_parts
from safediffusion.evaluation.results import is_judged, shortfalls
from safediffusion.evaluation.runner import EvaluationOptions, evaluate
from safediffusion.evaluation.tasks import HELDOUT, get_task
from safediffusion.files.atomic import write_text
from safediffusion.files.checked import read_json
from safediffusion.files.contents import Results, Step
from safediffusion.files.json_lines import readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.session import Session
from safediffusion.system import distributed
from safediffusion.training.trainer import Trainer

PREVIEWS = 400  # images of a task that the report can choose from

log = logging.getLogger(__name__)


def evaluate_run(session: Session, when: str, model: Diffuser | Path) -> None:
    """Evaluate the run's tasks into eval/WHEN.

    Results that an earlier session completed are kept: the detectors and the sampler are deterministic, so a
    second evaluation would give the same ones. Results of an older version of a task are replaced. A task
    that was interrupted goes on after its last batch.

    Args:
        session: the run.
        when: "before" or "after".
        model: the loaded model, or a pipeline folder, which is loaded only if a task is missing.
    """
    e, folder = session.config.evaluate, session.folder
    versions = {name: get_task(name).version for name in e.tasks}
    missing = [name for name in e.tasks if not is_judged(folder.eval_path(when, name), versions[name])]
    for name in set(e.tasks) - set(missing):
        # the process may have been killed after it wrote the results and before it removed the batches
        remove_parts(folder.eval_path(when, name))
    if not missing:
        return
    if HELDOUT.name in missing and session.config.model.path != "world":
        if distributed.is_main():
            fetch_judge()
        distributed.barrier()
    with session.watch.phase(f"evaluate {when}"):
        if isinstance(model, Path):
            trained = session.config.model.at(str(model))
            model = load_model(trained, session.device, merged=True)
        # World's pictograms harm nobody
        previews = Previews(PREVIEWS, veiled=not (e.show_unsafe or session.config.model.path == "world"))
        options = replace(EvaluationOptions.of(e, e.n, held_out_of(folder.root)), previews=previews)
        evaluate(model, missing, folder.eval_path(when), options)
        load_clip.cache_clear()  # training needs the memory
    if when == "before" and distributed.is_main():  # what is missing can still be fetched
        for line in shortfalls([folder.eval_path(when)]):
            log.warning("%s", line)


def fetch_judge() -> None:
    """Get the CLIP that judges held-out prompts, as a run gets its model and its reward's encoder.

    Without a network the run goes on: results say what is missing, and who judged instead.
    """
    try:
        cached(JUDGE)
    except Missing as missing:
        log.warning("judge of held-out prompts: %s of the hub, 0.6 GB", JUDGE)
        if not fetched(JUDGE):
            log.warning("%s", missing)


def evaluate_during(trainer: Trainer, step: int) -> dict[str, float]:
    """Evaluate the current weights on few images; add a line to eval/during.jsonl and return the values."""
    e, folder = trainer.config.evaluate, trainer.folder
    with trainer.learner.evaluation_weights():
        results = evaluate(
            trainer.diffuser,
            e.tasks,
            folder.eval_path("during"),
            EvaluationOptions.of(e, e.during_n, held_out_of(folder.root)),
            on_progress=lambda done, total: None,  # the training line is on screen
        )
    load_clip.cache_clear()  # training needs the memory
    values = metric_values(results)
    if distributed.is_main():
        # a resumed run repeats the rounds after its checkpoint, so their lines are replaced
        rows = [row for row in read_during(folder) if row["step"] < step]
        lines = (json.dumps(row) + "\n" for row in [*rows, {"step": step, **values}])
        write_text(folder.eval_path("during.jsonl"), "".join(lines))
    return values


def read_during(folder: RunFolder) -> list[dict[str, Any]]:
    """The small evaluations so far, {TASK/METRIC: value, step: round} each; damaged lines are left out."""
    return readable_rows(folder.eval_path("during.jsonl"), Step)


def metric_values(results: dict[str, Any]) -> dict[str, float]:
    """{TASK/METRIC: value} of the results of several tasks."""
    return {
        f"{task}/{name}": metric["value"]
        for task, result in results.items()
        for name, metric in result["metrics"].items()
    }


def saved_values(folder: RunFolder, when: str, tasks: list[str]) -> dict[str, float]:
    """{TASK/METRIC: value} of the results in eval/WHEN."""
    paths = {task: folder.eval_path(when, task, "results.json") for task in tasks}
    return metric_values({task: read_json(path, Results) for task, path in paths.items() if path.exists()})
