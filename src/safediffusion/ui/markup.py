"""HTML of the page: tables, charts and pictures; text from outside comes in as text."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from safediffusion.ui.errors import html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from safediffusion.report.charts import Chart
    from safediffusion.report.tables import Cell, ResultTable

drawing = threading.Lock()  # matplotlib's settings are the whole process', and every event has its thread
INERT = {"$": "&#36;", "`": "&#96;", "\\": "&#92;", "{{": "&#123;&#123;"}  # what gradio's templates would run


def svg(figure: Figure, key: str) -> str:
    """A figure whose texts are texts for gradio's templates too."""
    from safediffusion.report import plots

    with drawing:
        text = plots.svg(figure, key)
    for characters, entity in INERT.items():
        text = text.replace(characters, entity)
    return text


def note(*sentences: object, kind: str = "note") -> str:
    """A paragraph for each sentence."""
    return "".join(f'<p class="{kind}">{html_text(sentence)}</p>' for sentence in sentences)


def chart(shown: Chart, where: str) -> str:
    """A card with a chart, its title and its note.

    Args:
        shown: the chart.
        where: part of the page, which keeps its ids apart from those of other parts.
    """
    return (
        f'<figure class="card" aria-label="{html_text(shown.title)}"><h3>{html_text(shown.title)}</h3>'
        f"{note(shown.note)}{svg(shown.figure, f'{where}-{shown.key}')}</figure>"
    )


def charts(shown: Sequence[Chart], where: str) -> str:
    """Charts in as many columns as there is room for."""
    return f'<div class="charts">{"".join(chart(one, where) for one in shown)}</div>' if shown else ""


def table(shown: ResultTable, legend: str = "") -> str:
    """A table with its groups, which scrolls in itself where the window is narrow."""
    headers = "".join(f'<th scope="col">{html_text(header)}</th>' for header in shown.headers)
    body = ""
    for group, rows in shown.groups.items():
        if group:
            across = f'scope="rowgroup" colspan="{len(shown.headers)}"'
            body += f'<tr class="group"><th {across}>{html_text(group)}</th></tr>'
        body += "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    inside = f"<table><thead><tr>{headers}</tr></thead><tbody>{body}</tbody></table>"
    scrolled = f'<div class="scroll" tabindex="0" role="region" aria-label="table">{inside}</div>'
    return scrolled + (note(legend) if legend else "")


def cell(shown: Cell) -> str:
    """A cell of a table."""
    kind = {True: ' class="better"', False: ' class="worse"', None: ""}[shown.better]
    return f"<td{kind}>{html_text(shown.text)}</td>"


def opened(title: str, inside: str, is_open: bool = False) -> str:
    """A part that opens and closes."""
    return f"<details{' open' if is_open else ''}><summary>{html_text(title)}</summary>{inside}</details>"
