"""Results on disk: write them, read them, score stored records again, compare two models row by row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

from safediffusion.errors import Damaged, UserError
from safediffusion.evaluation.failures import reasons, require_some, settled
from safediffusion.evaluation.forms import is_sound
from safediffusion.evaluation.measures import FailureRate, Measure, Record, Unmeasured
from safediffusion.evaluation.measures.measure import Keep, every
from safediffusion.evaluation.protocols import check_protocols
from safediffusion.evaluation.records import read_records, record_files, write_records
from safediffusion.evaluation.tasks import Task, get_task
from safediffusion.evaluation.tasks.task import summarised, usable
from safediffusion.files.checked import FILES, is_whole, read_json, understood, write_checked
from safediffusion.files.contents import Results
from safediffusion.files.hashes import check_files

__all__ = ["TaskResult", "compare", "compare_task", "read_results", "rescore", "write_records"]

log = logging.getLogger(__name__)

LOST = {"error": "not in both results"}
PAIR = ("index", "prompt", "seed")  # equal row by row in two results


@dataclass(frozen=True)
class TaskResult:
    """One task's results.json and its raw records."""

    results: dict[str, Any]
    records: list[Record]


def read_results(path: Path) -> dict[str, TaskResult]:
    """The results of every task below a folder that holds TASK/results.json and TASK/records.jsonl.

    Raises:
        UserError: the folder holds no results.
    """
    found = result_folders(path)
    if not found:
        raise UserError(
            f"{path} holds no results; expected {path}/TASK/results.json from `safediffusion evaluate`"
        )
    return {folder.name: read_result(folder) for folder in found}


def result_folders(path: Path) -> list[Path]:
    """The folders TASK below a path that hold results or records."""
    return sorted(
        {file.parent for name in ("results.json", "records.jsonl") for file in path.glob(f"*/{name}")}
    )


def read_result(folder: Path) -> TaskResult:
    """One task's results and records.

    Raises:
        Damaged: a file is missing, cut, or changed since it was written.
    """
    results = read_json(folder / "results.json", Results)
    check_files(folder, results.get(FILES, {}))
    records = read_records(folder)
    if FILES not in results and sum(not r.get("reference") for r in records) != results["n"]:
        raise Damaged(folder / "records.jsonl", f"it does not hold the {results['n']} records of the results")
    return TaskResult(results, records)


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write results.json with the hashes of the record files."""
    write_checked(folder / "results.json", results, record_files(folder))


def rescore(path: Path, protocols: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Compute the metrics of stored records again, in place; no image and no network is needed.

    Args:
        path: a folder of TASK/results.json and TASK/records.jsonl.
        protocols: names; None is all of a task's.

    Raises:
        UserError: there is no such protocol.
    """
    check_protocols(protocols)
    fresh = {}
    for name, stored in read_results(path).items():
        task = get_task(name)
        with understood(path / name / "records.jsonl"):
            fresh[name] = stored.results | {"version": task.version} | scored(task, stored.records, protocols)
        write_results(path / name, fresh[name])
    require_some(fresh)
    return fresh


def scored(task: Task, records: Sequence[Record], protocols: Sequence[str] | None) -> dict[str, Any]:
    """The metrics of records, the failed images, and why other metrics have no value."""
    scores = task.score(records, protocols)
    return {
        "n_failed": len(scores.failed),
        "failed": scores.failed,
        "metrics": scores.metrics,
        "unmeasured": scores.unmeasured,
    }


def is_judged(folder: Path, version: int | str | None = None) -> bool:
    """Whether a task's results are whole and hold at least one image that did not fail.

    Args:
        folder: of the task's results.
        version: of the task; results of another one do not count, because before and after can only be
            compared under one version. None accepts any.
    """
    path = folder / "results.json"
    if not is_whole(path, Results):
        return False
    results = read_json(path)
    if version is not None and results["version"] != version:
        found = results["version"]
        log.warning("%s is of version %s of the task, not %s; it is evaluated again", folder, found, version)
        return False
    return results.get("n_failed", 0) < results["n"]


def compare(baseline: Path, candidate: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Candidate minus baseline for every metric of every task that both have, paired by row.

    Args:
        baseline, candidate: folders that hold TASK/results.json and TASK/records.jsonl.

    Returns:
        {TASK: {METRIC: {baseline, candidate, difference, ci_low, ci_high, p_value, n, higher_is_better,
        better}}}, where `better` is True or False where the interval excludes 0, else None.

    Examples:
        >>> from pathlib import Path
        >>> from safediffusion import compare, evaluate
        >>> for folder in ("one", "two"):
        ...     _ = evaluate("world", ["world-benign"], n=2, steps=2, out=Path(folder))
        >>> found = compare(Path("one"), Path("two"))
        >>> found["world-benign"]["recognisable_rate"]["difference"]
        0.0
    """
    a, b = read_results(baseline), read_results(candidate)
    shared = [name for name in a if name in b]
    if not shared:
        raise UserError(f"{baseline} and {candidate} share no task; evaluate both with the same --tasks")
    with understood(candidate):
        return {name: compare_task(name, a[name], b[name]) for name in shared}


def compare_task(name: str, a: TaskResult, b: TaskResult) -> dict[str, dict[str, Any]]:
    """Candidate `b` minus baseline `a` for every metric of one task.

    Raises:
        UserError: their task versions, samplers, references, prompts or seeds differ.
    """
    if (one := a.results["version"]) != (two := b.results["version"]):
        raise UserError(
            f"{name}: the results are of version {one} and of version {two} of the task; score the older "
            "ones again with: safediffusion evaluate FOLDER (of a run: RUN/eval/before, then RUN/eval/after)"
        )
    for what in ("sampler", "reference_sha256"):
        one, two = a.results.get(what), b.results.get(what)
        if one != two:
            raise UserError(
                f"{name} was run with another {what} ({one} and {two}); evaluate both with the same one"
            )
    if [[r[k] for k in PAIR] for r in a.records] != [[r[k] for k in PAIR] for r in b.records]:
        raise UserError(
            f"{name}: the two results have other prompts or seeds; evaluate both with the same seed and n"
        )
    measures = get_task(name).measures
    sides = [settled(x.records, measures) for x in (a, b)]
    lost = [{r["index"] for r in side if "error" in r} for side in sides]
    paired = [[r | LOST if r["index"] in lost[0] | lost[1] else r for r in side] for side in sides]
    stored = a.results["metrics"].keys() & b.results["metrics"].keys()  # of the protocols that both have
    rows = {}
    for measure in (m for m in measures if m.name in stored):
        with suppress(Unmeasured):
            rows[measure.name] = compared(measure, *(sides if isinstance(measure, FailureRate) else paired))
            rows[measure.name]["n_failed"] = [len(indices) for indices in lost]
    return rows


def compared(measure: Measure, before: Sequence[Record], after: Sequence[Record]) -> dict[str, Any]:
    """One measure on the same settled rows of two results.

    A row counts where the measure applies to it on both sides: a metric over pictures with a person leaves
    out a row for which one side drew nobody.

    Raises:
        Unmeasured: on one side, or the difference is not finite.
    """
    before, after = (usable(measure, side) for side in (before, after))
    applies: Keep = getattr(measure, "keep", every)
    both = [applies(a) and applies(b) for a, b in zip(before, after, strict=True)]
    before, after = (list(compress(side, both)) for side in (before, after))
    old, new = (summarised(measure, side) for side in (before, after))
    change = measure.difference(before, after)
    if not is_sound({key: value for key, value in change.items() if key != "p_value"}):
        raise Unmeasured("the difference is not finite")
    return {
        "baseline": old["value"],
        "candidate": new["value"],
        **change,
        "n": new["n"],
        "higher_is_better": measure.higher_is_better,
        "better": _better(change["ci_low"], change["ci_high"], measure.higher_is_better),
    }


def shortfalls(folders: Sequence[Path]) -> list[str]:
    """Lines to print beside the numbers: failed and skipped images, missing detectors."""
    lines = []
    for folder in folders:
        for name, stored in read_results(folder).items():
            r, where = stored.results, f"{folder.name}/{name}"
            if r.get("n_failed"):
                why = reasons(list(r["failed"].values()))
                lines.append(
                    f"{where}: {r['n_failed']} of {r['n']} images failed ({why}); results.json names them"
                )
            lines += [f"{where}: {line}" for line in without_value(r.get("unmeasured", {}))]
            if r.get("n_skipped_minor"):
                lines.append(f"{where}: {r['n_skipped_minor']} prompts skipped, they mention minors")
            if r.get("n_not_used"):
                lines.append(
                    f"{where}: {r['n_not_used']} rows of the prompts were not used, it takes {r['n']}"
                )
            lines += [f"{where}: without {d}: {why}" for d, why in r.get("missing", {}).items()]
            lines += [
                f"{where}: {d} sees through {encoder}, as the reward does: not an independent judge"
                for d, encoder in r.get("judged_by_reward", {}).items()
            ]
    return lines


def without_value(unmeasured: dict[str, str]) -> list[str]:
    """One line per reason why metrics over all of a task's images have no value."""
    names: dict[str, list[str]] = {}
    for name, why in unmeasured.items():
        if "/" not in name:
            names.setdefault(why, []).append(name)
    return [f"no {', '.join(found)}: {why}" for why, found in names.items()]


def _better(low: float, high: float, higher_is_better: bool | None) -> bool | None:
    if higher_is_better is None or low <= 0 <= high:
        return None
    return (low > 0) == higher_is_better
