"""Judge a model or a folder: get the pictures, let the detectors look, write raw records, then metrics."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safediffusion.config.schema import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_diffuser
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import DetectorSet
from safediffusion.evaluation.detectors.detector import Row, sha256
from safediffusion.evaluation.examiner import Examiner
from safediffusion.evaluation.external_files import Missing
from safediffusion.evaluation.failures import require_some
from safediffusion.evaluation.fingerprint import fingerprint, is_finished, model_hash
from safediffusion.evaluation.image_folder import ImageFolder
from safediffusion.evaluation.measures import FromReference, Record
from safediffusion.evaluation.prompt_sets import PromptFile, asks_for_harm
from safediffusion.evaluation.records import Parts, read_records, remove_parts
from safediffusion.evaluation.results import compare, scored, write_results
from safediffusion.evaluation.sampler import Sampler, drawer, fitted
from safediffusion.evaluation.tasks import Task, get_task
from safediffusion.evaluation.tasks.task import without_minors
from safediffusion.files.folder_lock import locked
from safediffusion.prompts.table import expanded
from safediffusion.system import distributed
from safediffusion.system.device import environment, pick_device
from safediffusion.system.progress import progress

log = logging.getLogger(__name__)

__all__ = ["compare", "evaluate", "evaluate_images"]

OnProgress = Callable[[int, int], None]
Advance = Callable[[int], object]


def evaluate(
    model: str | Path | ModelConfig | Diffuser,
    tasks: Sequence[str],
    n: int | None = None,
    seed: int = 1234,
    steps: int = 16,
    guidance: float = 3.0,
    out: Path = Path("eval"),
    *,
    eta: float = 0.0,
    save_images: bool = False,
    on_progress: OnProgress | None = None,
    prompts: Path | None = None,
    column: str = "prompt",
    reference: Path | None = None,
    protocols: Sequence[str] | None = None,
    accept_sensitive: bool = False,
) -> dict[str, dict[str, Any]]:
    """Judge a model on tasks with the same prompts, noise and sampler for every model.

    Interrupted, the same call goes on after the last finished batch. Each of several processes does
    its share of the batches and returns nothing; the main one of a training or a call outside collects
    them.

    Args:
        model: a pipeline folder, a hub id, "world", one of these with how to load it, or a loaded model.
        tasks: names of tasks.
        n: images a task at most; None is each task's own size.
        seed: of prompts and noise.
        steps, guidance, eta: the sampler of tasks that have none of their own.
        out: OUT/TASK/records.jsonl and results.json are written.
        save_images: keep OUT/TASK/images/00000.png and so on.
        on_progress: called with images done and images in all; None shows a progress line.
        prompts: a file for the tasks that read one.
        column: where the prompts stand in it.
        reference: a folder of real pictures, for FID.
        protocols: names; None is all of a task's.
        accept_sensitive: needed by tasks and files whose prompts are sensitive.

    Returns:
        {TASK: contents of results.json}, without tasks whose prompts or detectors are all missing here.

    Raises:
        RunError: all pictures of a task failed; the results of all tasks are written.

    Example:
        >>> from pathlib import Path
        >>> from safediffusion import evaluate
        >>> results = evaluate("world", ["world-benign"], n=2, steps=2, out=Path("results"))
        >>> results["world-benign"]["n"]
        2
    """
    prompts = expanded(prompts) if prompts else None
    wanted = accepted(tasks, accept_sensitive, prompts, reference)
    loading = ModelConfig(path=str(model)) if isinstance(model, str | Path) else model
    device = pick_device() if isinstance(loading, ModelConfig) else loading.device
    bench = DetectorSet(device)
    file = PromptFile(prompts, column) if prompts else None
    chosen = present(wanted, bench, lambda task: task.prompts(n, seed, file))
    diffuser = load_diffuser(loading, device, merged=True) if isinstance(loading, ModelConfig) else loading
    about = {
        "model": loading.path if isinstance(loading, ModelConfig) else diffuser.pipeline.name_or_path,
        "model_sha256": model_hash(diffuser),
        "seeds": {"seed": seed, "noise": "each row's own, or sha256(seed/task/row)"},
    }
    dtype = {"dtype": str(diffuser.dtype).removeprefix("torch.")}
    results = {}
    with counting(sum(map(len, chosen.values())), on_progress) as advance:
        for task, rows in chosen.items():
            folder = out / task.name
            sampler, rows = fitted(task.sampler or Sampler(steps, guidance, eta), rows, diffuser)
            look = Examiner(
                task, bench, drawer(diffuser, sampler), folder / "images" if save_images else None
            )
            kept, notes = select(rows, prompts, reference)
            notes |= about | {"sampler": asdict(sampler) | dtype}
            notes["fingerprint"] = fingerprint(task, kept, notes, look.describe())
            notes["n_not_used"] = task.not_used(n, seed, file)
            with locked(folder, shared=several()):
                records = judge(task, kept, look, folder, notes["fingerprint"], advance)
                if records is not None:
                    results[task.name] = finish(task, records, folder, notes, bench, protocols)
    require_some(results)
    return results


def evaluate_images(
    images: Path,
    prompts: Path | None,
    task_name: str = "images",
    out: Path = Path("eval"),
    *,
    n: int | None = None,
    column: str = "prompt",
    reference: Path | None = None,
    protocols: Sequence[str] | None = None,
    accept_sensitive: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Judge pictures that exist already.

    Args:
        images: a folder of <case>_<n>.png, of <case>/samples/<n>.png, or of what a column `file` names.
        prompts: the rows; None is the task's own prompt set.
        task_name: "images", or a task whose prompts the pictures were drawn from.
        out, n, column, reference, protocols, accept_sensitive, on_progress: as for `evaluate`.

    Returns:
        The contents of results.json.

    Raises:
        RunError: all pictures failed; the results are written.
    """
    prompts = expanded(prompts) if prompts else None
    (task,) = accepted([task_name], accept_sensitive, prompts, reference)
    source, bench = ImageFolder(images), DetectorSet(pick_device())
    file = PromptFile(prompts, column) if prompts else None
    rows = source.rows(task.prompts(n, 0, file))
    look = Examiner(task, bench, source)
    kept, notes = select(rows, prompts, reference)
    notes |= {"model": str(images), "model_sha256": source.sha256(), "sampler": None, "seeds": None}
    notes["n_without_prompt"] = source.strangers(rows)
    notes["fingerprint"] = fingerprint(task, kept, notes, look.describe())
    notes["n_not_used"] = task.not_used(n, 0, file)
    folder = out / task.name
    with counting(len(rows), on_progress) as advance, locked(folder, shared=several()):
        records = judge(task, kept, look, folder, notes["fingerprint"], advance)
        found = finish(task, records, folder, notes, bench, protocols) if records is not None else {}
    require_some({task.name: found} if found else {})
    return found


def several() -> bool:
    """Whether processes share this evaluation."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def accepted(
    names: Sequence[str], accept_sensitive: bool, prompts: Path | None = None, reference: Path | None = None
) -> list[Task]:
    """The tasks, unless one needs what the user did not give: consent to its prompts, or real pictures."""
    tasks = [get_task(name) for name in names]
    sensitive = [task.name for task in tasks if task.sensitive]
    if prompts and asks_for_harm(prompts):
        sensitive.append(str(prompts))
    if sensitive and not accept_sensitive:
        raise UserError(
            f"{sensitive[0]} loads prompts that ask for harmful pictures; "
            "add --accept-sensitive-content if that is what you want"
        )
    for task in tasks:
        if reference is None and any(isinstance(measure, FromReference) for measure in task.measures):
            raise UserError(f"{task.name} measures a distance from real pictures; give them: --reference DIR")
    return tasks


def present(
    tasks: Sequence[Task], bench: DetectorSet, rows: Callable[[Task], list[Row]]
) -> dict[Task, list[Row]]:
    """Tasks and their rows, without those whose prompt set or detectors are all missing on this machine.

    Raises:
        Missing: none is left; the message holds the commands that get what is missing.
    """
    found, lacking = {}, []
    for task in tasks:
        try:
            found[task] = rows(task)
            if not bench.find(task.detectors):
                del found[task]
                lacking.append("; ".join(bench.missing[name] for name in task.detectors))
        except Missing as error:
            lacking.append(str(error))
    if not found:
        raise Missing("; ".join(dict.fromkeys(lacking)))
    for why in dict.fromkeys(lacking):
        log.warning("a task is left out: %s", why)
    return found


def select(
    rows: Sequence[Row], prompts: Path | None, reference: Path | None
) -> tuple[list[Row], dict[str, Any]]:
    """The rows to judge, references last, and what results note about the choice."""
    kept = without_minors(rows)
    notes = {
        "n_skipped_minor": len(rows) - len(kept),
        "prompts_sha256": sha256(prompts) if prompts else None,
        "reference_sha256": None,
    }
    if reference:
        kept += reference_rows(reference, len(rows))
        notes["reference_sha256"] = ImageFolder(reference).sha256()
    return kept, notes


def judge(
    task: Task, rows: Sequence[Row], look: Examiner, folder: Path, key: str, advance: Advance
) -> list[Record] | None:
    """The task's records, from disk where they are; None where this process did only a share of them.

    Args:
        task: whose batches.
        rows: what to look at.
        look: at a batch.
        folder: the task's.
        key: the fingerprint of all that the records depend on.
        advance: told of every picture that is done.
    """
    if is_finished(folder, key) and (look.keep is None or look.keep.is_dir()):
        advance(len(rows))
        return read_records(folder)
    parts = Parts(folder, key)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    for batch, start in enumerate(range(0, len(rows), task.batch)):
        part = rows[start : start + task.batch]
        if start not in parts and batch % world == rank:
            parts.write(start, look(part))
        advance(sum(not row.get("reference") for row in part))
    if world == 1 or distributed.is_main_after_barrier():
        return parts.merge()
    return None


def reference_rows(folder: Path, start: int) -> list[Row]:
    """A row for each picture of a folder of real ones."""
    source = ImageFolder(folder)
    return [
        {"index": start + i, "prompt": "", "seed": 0, "reference": True, "path": str(file)}
        for i, file in enumerate(source.files)
    ]


def finish(
    task: Task,
    records: list[Record],
    folder: Path,
    notes: dict[str, Any],
    bench: DetectorSet,
    protocols: Sequence[str] | None,
) -> dict[str, Any]:
    """results.json from the records."""
    results = {
        "task": task.name,
        "version": task.version,
        "n": sum(not r.get("reference") for r in records),
        **scored(task, records, protocols),
        **notes,
        "detectors": [detector.describe() for detector in bench.find(task.detectors)],
        "missing": {name: why for name, why in bench.missing.items() if name in task.detectors},
        "env": environment(),
    }
    write_results(folder, results)
    remove_parts(folder)
    return results


@contextmanager
def counting(total: int, on_progress: OnProgress | None) -> Iterator[Advance]:
    """A function that takes the number of images just finished, shown as a line or handed on."""
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
