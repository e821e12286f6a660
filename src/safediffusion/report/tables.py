"""Before and after, or several models, as one table: for the terminal and as Markdown.

A mark stands where the paired 95% interval of the difference from the first column excludes 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safediffusion.evaluation.results import read_results
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.fitted_table import FittedTable
from safediffusion.report.metric_changes import ARROWS, MetricChange, Unit, interval, metric_changes, number
from safediffusion.report.metric_changes import unit as unit_of
from safediffusion.report.result_table import Cell, ResultTable
from safediffusion.text.escaping import markdown_text

MARKS = {True: " ✓", False: " ✗", None: ""}
INTERVAL = "[95% interval]"
LEGEND = f"{INTERVAL}; ✓ better, ✗ worse: the paired interval of the difference from column 1 excludes 0"


def before_after(folder: RunFolder) -> FittedTable | str:
    """A run's metrics before and after training, as a table; a sentence if nothing was evaluated."""
    return terminal_table(paired_table(run_changes(folder)))


def comparison(paths: Sequence[Path]) -> FittedTable | str:
    """Runs or results side by side; a single run is compared with its own beginning.

    Args:
        paths: run folders, or folders of TASK/results.json; the first one is the baseline.
    """
    return terminal_table(comparison_table(paths))


def run_changes(folder: RunFolder) -> list[MetricChange]:
    """A run's metrics before and after training; none until both were judged."""
    before, after = folder.eval_path("before"), folder.eval_path("after")
    judged = all(any(path.glob("*/results.json")) for path in (before, after))
    return metric_changes(before, after) if judged else []


def comparison_table(paths: Sequence[Path]) -> ResultTable:
    """The table of one, two or more columns of results."""
    columns = sources(paths)
    names = list(columns)
    if len(columns) == 1:
        return single_table(names[0], columns[names[0]])
    pairs = [metric_changes(columns[names[0]], columns[name]) for name in names[1:]]
    if len(pairs) == 1:
        return paired_table(pairs[0], (names[0], names[1]))
    return wide_table(names, pairs)


def sources(paths: Sequence[Path]) -> dict[str, Path]:
    """Column titles and folders of results; the first run's column before comes first."""
    first = RunFolder(paths[0])
    if first.config.exists() and len(paths) == 1:
        return {"before": first.eval_path("before"), "after": first.eval_path("after")}
    found = {"before": first.eval_path("before")} if first.config.exists() else {}
    for path in paths:
        name = path.resolve().name
        unique = name if name not in found else str(path)
        found[unique] = RunFolder(path).eval_path("after") if RunFolder(path).config.exists() else path
    return found


def paired_table(rows: Sequence[MetricChange], titles: tuple[str, str] = ("before", "after")) -> ResultTable:
    """Two models, with the paired difference."""
    groups: dict[str, list[list[Cell]]] = {}
    for change in rows:
        cells = [
            _label(change),
            _value(change.before, change),
            _value(change.after, change, better=change.better),
            Cell(change.change_text + MARKS[change.better], change.better),
        ]
        groups.setdefault(change.task, []).append(cells)
    counts = {change.task: dict(zip(titles, change.failed, strict=True)) for change in rows}
    return ResultTable(("metric", *titles, "difference"), groups, failures(counts))


def failures(counts: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """By task, a sentence with the number of failed images per column; the metrics exclude these images."""
    found = {}
    for task, columns in counts.items():
        if text := ", ".join(f"{title}: {n}" for title, n in columns.items() if n):
            found[task] = f"failed images, counted in blank_rate only: {text}"
    return found


def wide_table(names: Sequence[str], pairs: Sequence[Sequence[MetricChange]]) -> ResultTable:
    """Three models or more, each compared with the first; the best value of a row stands out."""
    by_name = [{change.name: change for change in pair} for pair in pairs]
    groups: dict[str, list[list[Cell]]] = {}
    counts: dict[str, dict[str, int]] = {}
    for first in pairs[0]:
        row = [found[first.name] for found in by_name if first.name in found]
        if len(row) < len(by_name):
            continue
        values = [first.before["value"], *(change.after["value"] for change in row)]
        lost = (first.failed[0], *(change.failed[1] for change in row))
        counts[first.task] = dict(zip(names, lost, strict=True))
        best = {True: max(values), False: min(values), None: None}[first.higher_is_better]
        cells = [_label(first), _value(first.before, first, best=first.before["value"] == best)]
        for change in row:
            best_here, mark = change.after["value"] == best, MARKS[change.better]
            cells.append(_value(change.after, change, change.better, best_here, mark))
        groups.setdefault(first.task, []).append(cells)
    return ResultTable(("metric", *names), groups, failures(counts))


def single_table(name: str, path: Path) -> ResultTable:
    """One model's values."""
    groups: dict[str, list[list[Cell]]] = {}
    for task, result in read_results(path).items():
        for metric, found in result.results["metrics"].items():
            unit, arrow = unit_of(task, metric), ARROWS[found["higher_is_better"]]
            value = value_cell(found, unit)
            groups.setdefault(task, []).append([Cell(f"{metric} {arrow}".strip()), value])
    counts = {task: {name: result.results.get("n_failed", 0)} for task, result in read_results(path).items()}
    return ResultTable(("metric", name), groups, failures(counts))


def _label(change: MetricChange) -> Cell:
    return Cell(f"{change.metric} {change.arrow}".strip())


def _value(
    metric: dict, change: MetricChange, better: bool | None = None, best: bool = False, mark: str = ""
) -> Cell:
    return replace(value_cell(metric, change.unit, mark), better=better, best=best)


def value_cell(metric: dict, unit: Unit, mark: str = "") -> Cell:
    """A metric's value with its interval, and the mark of its difference."""
    value = number(metric["value"], unit)
    return Cell(f"{value} {interval(metric, unit)}{mark}", short=f"{value}{mark}")


def terminal_table(table: ResultTable, legend: str | None = None) -> FittedTable | str:
    """The table for a terminal; one sentence where there is nothing to show.

    Args:
        table: the content.
        legend: what stands below it; None explains metrics.
    """
    if not table.groups:
        return "nothing was evaluated: evaluate.tasks is empty, or the detectors of its tasks are missing"
    return FittedTable(table, legend or (LEGEND if len(table.headers) > 2 else INTERVAL))


def markdown_table(table: ResultTable, legend: str = LEGEND) -> str:
    """The same table for a README; a row's best value is bold."""
    rows = [
        "| " + " | ".join(map(markdown_text, table.headers)) + " |",
        "|---|" + "---:|" * (len(table.headers) - 1),
    ]
    for task, group in table.groups.items():
        for label, *cells in group:
            texts = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
            rows.append("| " + " | ".join([markdown_text(f"{task}/{label.text}"), *texts]) + " |")
    notes = [markdown_text(f"{task}: {text}") for task, text in table.failed.items()]
    return "\n".join([*rows, "", legend, *notes, ""])
