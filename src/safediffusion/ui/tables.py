"""The table of `safediffusion compare` as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from safediffusion.evaluation.tables import formats
from safediffusion.evaluation.tables.method_table import MethodTable
from safediffusion.report.tables import LEGEND, Cell, ResultTable
from safediffusion.ui.errors import html_text
from safediffusion.ui.pictures import note

KINDS = {True: "better", False: "worse", None: ""}


def result_html(table: ResultTable) -> str:
    """Metrics by row, models by column; a sentence where nothing was evaluated."""
    if not table.groups:
        return note("nothing was evaluated: these results hold no metric")
    body = "".join(_group(task, rows, table) for task, rows in table.groups.items())
    return scrolling(table.headers, body) + note(LEGEND)


def _group(task: str, rows: Sequence[Sequence[Cell]], table: ResultTable) -> str:
    width = len(table.headers)
    head = f'<tr class="group"><th scope="rowgroup" colspan="{width}">{html_text(task)}</th></tr>'
    failed = table.failed.get(task)
    last = f'<tr><td colspan="{width}" class="worse">{html_text(failed)}</td></tr>' if failed else ""
    return head + "".join(row_html(cells) for cells in rows) + last


def row_html(cells: Iterable[Cell]) -> str:
    """A row whose first cell is its head."""
    label, *values = cells
    return f'<tr><th scope="row">{html_text(label.text)}</th>{"".join(map(_value, values))}</tr>'


def _value(cell: Cell) -> str:
    kind = " ".join(filter(None, [KINDS[cell.better], "best" if cell.best else ""]))
    return f'<td class="{kind}">{html_text(cell.text)}</td>'


def method_html(table: MethodTable) -> str:
    """Methods by row, headline metrics by column: for results that cannot be paired row by row."""
    metrics = formats.headlines(table)
    rows = []
    for name, row in table.rows.items():
        found = [(row.get(metric), formats.text(row.get(metric))) for metric in metrics]
        cells = [Cell(text, value and value.better, bool(value and value.best)) for value, text in found]
        rows.append(row_html([Cell(name), *cells]))
    heads = ["method", *(f"{metric} {formats.arrow(table, metric)}".strip() for metric in metrics)]
    return scrolling(heads, "".join(rows)) + note(formats.LEGEND) + "".join(map(note, warnings(table)))


def warnings(table: MethodTable) -> Iterator[str]:
    """Why rows are not comparable."""
    yield from (f"Not comparable row by row: {warning}" for warning in table.warnings)


def scrolling(heads: Iterable[str], body: str) -> str:
    """A table that scrolls sideways on a narrow screen, with the keyboard too."""
    head = "".join(f'<th scope="col">{html_text(text)}</th>' for text in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="comparison">{table}</div>'
