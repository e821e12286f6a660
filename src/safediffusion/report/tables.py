"""Before and after, or several models, as one table: for the terminal and as Markdown.

A mark stands where the paired 95% interval of the difference from the first column excludes 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from safediffusion.evaluation.results import read_results
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.lines import Line, interval, lines, number
from safediffusion.report.lines import unit as unit_of
from safediffusion.text.escaping import markdown_text, plain

MARKS = {True: " ✓", False: " ✗", None: ""}
STYLES = {True: "green", False: "red", None: ""}
INTERVAL = "[95% interval]"
LEGEND = f"{INTERVAL}; ✓ better, ✗ worse: the paired interval of the difference from column 1 excludes 0"


@dataclass(frozen=True)
class Cell:
    """A cell's text, and whether it tells of something better, worse or neither."""

    text: str
    better: bool | None = None
    best: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn; `groups` are the tasks, each with its rows, label first.

    Attributes:
        failed: by task, how many pictures failed in which column; empty where none did.
    """

    headers: tuple[str, ...]
    groups: dict[str, list[list[Cell]]]
    failed: dict[str, str] = field(default_factory=dict)


def before_after(folder: RunFolder) -> Table | str:
    """A run's effect, metric by metric; or that nothing was evaluated."""
    return draw(paired_sheet(run_lines(folder)))


def comparison(paths: Sequence[Path]) -> Table | str:
    """Runs or results side by side; a single run is compared with its own beginning.

    Args:
        paths: run folders, or folders of TASK/results.json; the first one is the baseline.
    """
    return draw(comparison_sheet(paths))


def run_lines(folder: RunFolder) -> list[Line]:
    """A run's metrics before and after; none while it has not been judged twice."""
    before, after = folder.eval("before"), folder.eval("after")
    judged = all(any(path.glob("*/results.json")) for path in (before, after))
    return lines(before, after) if judged else []


def comparison_sheet(paths: Sequence[Path]) -> Sheet:
    """The table of several sources, whatever they are."""
    columns = sources(paths)
    names = list(columns)
    if len(columns) == 1:
        return single_sheet(names[0], columns[names[0]])
    pairs = [lines(columns[names[0]], columns[name]) for name in names[1:]]
    if len(pairs) == 1:
        return paired_sheet(pairs[0], (names[0], names[1]))
    return wide_sheet(names, pairs)


def sources(paths: Sequence[Path]) -> dict[str, Path]:
    """Column titles and the results below them; runs begin with the base they started from."""
    first = RunFolder(paths[0])
    if first.config.exists() and len(paths) == 1:
        return {"before": first.eval("before"), "after": first.eval("after")}
    found = {"before": first.eval("before")} if first.config.exists() else {}
    for path in paths:
        name = path.resolve().name
        unique = name if name not in found else str(path)
        found[unique] = RunFolder(path).eval("after") if RunFolder(path).config.exists() else path
    return found


def paired_sheet(rows: Sequence[Line], titles: tuple[str, str] = ("before", "after")) -> Sheet:
    """Two models, with the paired difference."""
    groups: dict[str, list[list[Cell]]] = {}
    for line in rows:
        cells = [
            _label(line),
            _value(line.before, line),
            Cell(f"{number(line.after['value'], line.unit)} {interval(line.after, line.unit)}", line.better),
            Cell(line.change_text + MARKS[line.better], line.better),
        ]
        groups.setdefault(line.task, []).append(cells)
    counts = {line.task: dict(zip(titles, line.failed, strict=True)) for line in rows}
    return Sheet(("metric", *titles, "difference"), groups, failures(counts))


def failures(counts: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """By task, in words, the columns of which pictures failed: its numbers are about the others alone."""
    found = {}
    for task, columns in counts.items():
        if text := ", ".join(f"{title}: {n}" for title, n in columns.items() if n):
            found[task] = f"failed pictures, in no number but blank_rate: {text}"
    return found


def wide_sheet(names: Sequence[str], pairs: Sequence[Sequence[Line]]) -> Sheet:
    """Three models or more, each compared with the first; the best value of a row stands out."""
    by_name = [{line.name: line for line in pair} for pair in pairs]
    groups: dict[str, list[list[Cell]]] = {}
    counts: dict[str, dict[str, int]] = {}
    for first in pairs[0]:
        row = [found[first.name] for found in by_name if first.name in found]
        if len(row) < len(by_name):
            continue
        values = [first.before["value"], *(line.after["value"] for line in row)]
        lost = (first.failed[0], *(line.failed[1] for line in row))
        counts[first.task] = dict(zip(names, lost, strict=True))
        best = max(values) if first.higher_is_better else min(values)
        cells = [_label(first), _value(first.before, first, first.before["value"] == best)]
        for line in row:
            text = f"{number(line.after['value'], line.unit)} {interval(line.after, line.unit)}"
            cells.append(Cell(text + MARKS[line.better], line.better, line.after["value"] == best))
        groups.setdefault(first.task, []).append(cells)
    return Sheet(("metric", *names), groups, failures(counts))


def single_sheet(name: str, path: Path) -> Sheet:
    """One model's values."""
    groups: dict[str, list[list[Cell]]] = {}
    for task, result in read_results(path).items():
        for metric, found in result.results["metrics"].items():
            unit, arrow = unit_of(task, metric), "↑" if found["higher_is_better"] else "↓"
            value = Cell(f"{number(found['value'], unit)} {interval(found, unit)}")
            groups.setdefault(task, []).append([Cell(f"{metric} {arrow}"), value])
    counts = {task: {name: result.results.get("n_failed", 0)} for task, result in read_results(path).items()}
    return Sheet(("metric", name), groups, failures(counts))


def _label(line: Line) -> Cell:
    return Cell(f"{line.metric} {line.arrow}")


def _value(metric: dict, line: Line, best: bool = False) -> Cell:
    return Cell(f"{number(metric['value'], line.unit)} {interval(metric, line.unit)}", None, best)


def draw(sheet: Sheet) -> Table | str:
    """The table for a terminal."""
    if not sheet.groups:
        return "nothing was evaluated: no task was asked for, or no detector of it is at hand"
    legend = LEGEND if len(sheet.headers) > 2 else INTERVAL
    table = Table(box=box.SIMPLE_HEAD, caption=Text(legend), caption_justify="left", pad_edge=False)
    for i, header in enumerate(sheet.headers):
        table.add_column(Text(plain(header)), justify="right" if i else "left", no_wrap=not i)
    for task, rows in sheet.groups.items():
        table.add_row(Text(plain(task), "bold"))
        for row in rows:
            table.add_row(
                *(Text(("  " if not i else "") + plain(c.text), style(c)) for i, c in enumerate(row))
            )
        if task in sheet.failed:
            table.add_row(Text(f"  {plain(sheet.failed[task])}", "red"))
        table.add_section()
    return table


def style(cell: Cell) -> str:
    """Colour for better and worse, bold for a row's best value."""
    return f"{'bold ' if cell.best else ''}{STYLES[cell.better]}".strip()


def markdown(sheet: Sheet) -> str:
    """The same table for a README; a row's best value is bold."""
    rows = [
        "| " + " | ".join(map(markdown_text, sheet.headers)) + " |",
        "|---|" + "---:|" * (len(sheet.headers) - 1),
    ]
    for task, group in sheet.groups.items():
        for label, *cells in group:
            texts = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
            rows.append("| " + " | ".join([markdown_text(f"{task}/{label.text}"), *texts]) + " |")
    notes = [markdown_text(f"{task}: {text}") for task, text in sheet.failed.items()]
    return "\n".join([*rows, "", LEGEND, *notes, ""])
