"""Evaluate a source of images on tasks: images, detectors, raw records, then metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import DetectorSet
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.detectors.zero_shot import judged_by_reward
from safediffusion.evaluation.examiner import Examiner
from safediffusion.evaluation.failures import require_some
from safediffusion.evaluation.fingerprint import fingerprint, has_records_of
from safediffusion.evaluation.headlines import judges_safety
from safediffusion.evaluation.kept_images import KeptImages
from safediffusion.evaluation.measures import Record
from safediffusion.evaluation.options import EvaluationOptions, OnProgress
from safediffusion.evaluation.records import FinishedBatches, read_records, remove_parts
from safediffusion.evaluation.results import scored, write_results
from safediffusion.evaluation.sampler import Sampler
from safediffusion.evaluation.selection import accepted, present, require_measurable, select
from safediffusion.evaluation.sources import Model, Source, as_source
from safediffusion.evaluation.tasks import Task
from safediffusion.files.folder_lock import locked
from safediffusion.system import distributed
from safediffusion.system.device import environment
from safediffusion.system.launched import launched_count, launched_rank
from safediffusion.system.progress import progress

__all__ = ["EvaluationOptions", "accepted", "evaluate", "evaluate_images"]

Advance = Callable[[int], object]


def evaluate(
    model: Model | Source,
    tasks: Sequence[str],
    out: Path = Path("eval"),
    options: EvaluationOptions | None = None,
    **settings: Any,
) -> dict[str, dict[str, Any]]:
    """Evaluate a model, or another source of images, with the same prompts, noise and sampler for all.

    An interrupted evaluation continues after its last finished batch when the same call is repeated. Each
    of several processes examines its share of the batches and returns nothing. Inside a training the main
    process then collects the records; outside, the next call in one process does.

    Args:
        model: a pipeline folder, a hub id, "world", one of these with how to load it, a loaded model, a
            `Source`, or the name of one: `pkg.mod:NAME`.
        tasks: names of tasks, or `pkg.mod:NAME` of a Task.
        out: OUT/TASK/records.jsonl and results.json are written.
        options: what the evaluation does; the defaults are those of EvaluationOptions.
        settings: single options by name, for example n=64; they override `options`.

    Returns:
        {TASK: contents of results.json}, without tasks whose prompts or detectors are all missing here.

    Raises:
        RunError: all images of a task failed; the results of all tasks are written.
        UserError: a task is unknown, or needs an option that is not given; or `every_task` would change how
            images are sampled that exist already.

    Examples:
        >>> from pathlib import Path
        >>> from safediffusion import evaluate
        >>> results = evaluate("world", ["world-benign"], n=2, steps=2, out=Path("results"))
        >>> results["world-benign"]["n"]
        2
    """
    options = replace(options or EvaluationOptions(), **settings)
    file = options.prompt_file
    wanted = accepted(tasks, options.accept_sensitive, file and file.path, options.reference)
    wanted = [options.fitted(task) for task in wanted]
    source = as_source(model)
    if source.existing and options.every_task:
        raise UserError(f"the images of {source.name} exist already; leave out every_task")
    detectors = DetectorSet(source.device, options.reward_encoders)
    seed = 0 if source.existing else options.seed

    def rows_of(task: Task) -> list[Row]:
        return task.prompts(options.n, seed, options.file_of(task))

    chosen = present(wanted, detectors, rows_of, source.existing)
    require_measurable(options.required, wanted, [task for task, _ in chosen], detectors.missing)
    plan = Plan(source, detectors, options, {"model": source.name, "model_sha256": source.sha256()})
    fitted = [
        (task, *options.applied(*source.fit(task.sampler or options.sampler, rows))) for task, rows in chosen
    ]
    for _, sampler, _ in fitted:
        source.check_sampler(sampler)
    results = {}
    with counting(sum(len(rows) for *_, rows in fitted), options.on_progress) as advance:
        for task, sampler, rows in fitted:
            found = evaluate_task(plan, TaskRows(task, sampler, rows), out / task.name, advance)
            if found is not None:
                results[task.name] = found
    require_some(results)
    return results


def evaluate_images(
    images: Path,
    prompts: Path | None = None,
    task: str = "images",
    out: Path = Path("eval"),
    options: EvaluationOptions | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Evaluate images that exist already.

    Args:
        images: a folder of <case>_<n>.png, of <case>/samples/<n>.png, or of what a column `file` names.
        prompts: the rows; None is the task's own prompt set.
        task: "images", or a task from whose prompts the images were sampled.
        out, options, settings: as for `evaluate`; seed and sampler have no effect.

    Returns:
        The contents of results.json.

    Raises:
        RunError: all images failed; the results are written.
        UserError: as for `evaluate`.
    """
    results = evaluate(f"images:{images}", [task], out, options, **{"prompts": prompts, **settings})
    return next(iter(results.values()), {})


@dataclass(frozen=True)
class Plan:
    """What all tasks of one evaluation share; `about` is the model's name and hash."""

    source: Source
    detectors: DetectorSet
    options: EvaluationOptions
    about: dict[str, Any]


@dataclass(frozen=True)
class TaskRows:
    """One task with its sampler and its rows, as the source can take them."""

    task: Task
    sampler: Sampler
    rows: list[Row]


def evaluate_task(plan: Plan, work: TaskRows, folder: Path, advance: Advance) -> dict[str, Any] | None:
    """The task's results; None if this process examined only its share of the batches."""
    task, options, source = work.task, plan.options, plan.source
    kept, notes = select(work.rows, options.prompt_file and options.prompt_file.path, options.reference)
    examiner = Examiner(
        plan.detectors.named(task.detectors),
        lambda rows: source.images(rows, work.sampler),
        kept_images(plan, task, folder),
    )
    notes |= plan.about | describe_sampling(plan, work)
    notes["fingerprint"] = key = fingerprint(task, kept, notes, examiner.describe())
    notes["n_not_used"] = task.not_used(options.n, options.seed, options.file_of(task))
    with locked(folder, shared=launched_count() > 1):
        records = collect_records(examiner, kept, task.batch, FinishedBatches(folder, key), advance)
        return None if records is None else write_task_results(plan, task, records, folder, notes)


def kept_images(plan: Plan, task: Task, folder: Path) -> list[KeptImages]:
    """The images of a task that stay on disk."""
    options, kept = plan.options, []
    if options.save_images and not plan.source.existing:
        kept.append(KeptImages(folder / "images"))
    if (previews := options.previews) and (task.of_run or judges_safety(task.name)):
        kept.append(KeptImages(folder / "previews", previews.most, previews.hides))
    return kept


def describe_sampling(plan: Plan, work: TaskRows) -> dict[str, Any]:
    """What results note about seeds, sampler and source; images that exist already have no seeds."""
    noise = "each row's own, or sha256(seed/task/row)"
    seeds = None if plan.source.existing else {"seed": plan.options.seed, "noise": noise}
    sampler = plan.source.describe_sampler(work.sampler)
    return {"seeds": seeds, "sampler": sampler, **plan.source.notes(work.rows)}


def collect_records(
    examiner: Examiner, rows: Sequence[Row], batch: int, finished: FinishedBatches, advance: Advance
) -> list[Record] | None:
    """One record per row, from disk where they are; None if this process examined only its share.

    Args:
        examiner: makes the records of a batch.
        rows: to examine.
        batch: rows per batch.
        finished: the batches that are on disk.
        advance: called with the number of images just done.
    """
    folder = finished.task
    if has_records_of(folder, finished.key) and all(kept.is_there() for kept in examiner.keep):
        advance(sum(not row.get("reference") for row in rows))
        return read_records(folder)
    finished.begin()
    count, rank = launched_count(), launched_rank()
    for number, start in enumerate(range(0, len(rows), batch)):
        part = rows[start : start + batch]
        if start not in finished and number % count == rank:
            finished.write(start, examiner(part))
        advance(sum(not row.get("reference") for row in part))
    if count == 1 or distributed.is_main_after_barrier():
        return finished.merge()
    return None


def write_task_results(
    plan: Plan, task: Task, records: list[Record], folder: Path, notes: dict[str, Any]
) -> dict[str, Any]:
    """Score the records, write results.json, and return its contents."""
    about = [detector.describe() for detector in plan.detectors.named(task.detectors).values()]
    missing = plan.detectors.missing
    results = {
        "task": task.name,
        "version": task.version,
        "n": sum(not r.get("reference") for r in records),
        **scored(task, records, plan.options.protocols),
        **notes,
        "detectors": about,
        "judged_by_reward": judged_by_reward(about, plan.options.reward_encoders, plan.source.device),
        "missing": {name: why for name, why in missing.items() if name in task.detectors},
        "env": environment(),
    }
    write_results(folder, results)
    remove_parts(folder)
    return results


@contextmanager
def counting(total: int, on_progress: OnProgress | None) -> Iterator[Advance]:
    """A function that is called with the number of images just done; it shows a line or calls on_progress."""
    if on_progress is None:
        with progress("evaluate", total) as line:
            yield line.update
        return
    report, done = on_progress, 0

    def advance(count: int) -> None:
        nonlocal done
        if count:
            done += count
            report(done, total)

    yield advance
