"""A table of results for the terminal, which never breaks inside a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from safediffusion.report.result_table import Cell, ResultTable
from safediffusion.text.escaping import plain

STYLES = {True: "green", False: "red", None: ""}
NARROW = "a wider terminal shows the intervals of the values too"
HEADER = 14  # letters of a header's word that widen its column


@dataclass(frozen=True)
class FittedTable:
    """A table whose values lose their intervals where the terminal is too narrow for them.

    The interval of a difference, which decides whether something changed, always stays.
    """

    table: ResultTable
    legend: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table with every interval if it fits, else with those of differences."""
        whole = self.drawn(short=False)
        wanted = Measurement.get(console, options.update(max_width=10_000), whole).maximum
        yield whole if wanted <= options.max_width else self.drawn(short=True)

    def drawn(self, short: bool) -> Table:
        """The table with the whole or the short text of every cell."""
        rows = [row for group in self.table.groups.values() for row in group]
        shortened = short and any(cell.short is not None for row in rows for cell in row)
        legend = f"{self.legend}; {NARROW}" if shortened else self.legend
        drawn = Table(box=box.SIMPLE_HEAD, caption=Text(legend), caption_justify="left", pad_edge=False)
        drawn.add_column(Text(plain(self.table.headers[0])), overflow="fold")
        for i, header in enumerate(map(plain, self.table.headers[1:]), 1):
            width = width_of(header, [plain(text_of(row[i], short)) for row in rows])
            drawn.add_column(Text(header, overflow="fold"), justify="right", width=width)
        for task, group in self.table.groups.items():
            drawn.add_row(Text(plain(task), "bold"))
            for row, depth, label in as_tree([row[0].text for row in group]):
                texts = (Text(plain(text_of(cell, short)), style(cell)) for cell in group[row][1:])
                drawn.add_row(Text("  " * (depth + 1) + plain(label)), *texts)
            if task in self.table.failed:
                drawn.add_row(Text(f"  {plain(self.table.failed[task])}", "red"))
            drawn.add_section()
        return drawn


def text_of(cell: Cell, short: bool) -> str:
    """A cell's whole or short text."""
    return cell.short if short and cell.short is not None else cell.text


def width_of(header: str, texts: Sequence[str]) -> int:
    """Columns that no text is broken in; a header is broken between its words, and within very long ones."""
    return max([*map(len, texts), *(min(len(word), HEADER) for word in header.split())])


def as_tree(labels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Row, depth and shown label of a task's rows as a tree: `rate/hate ↓` stands below `rate ↓` as `hate ↓`.

    A row whose name begins with no other row's name stands at depth 0, in the order of the rows.
    """
    names = [label.removesuffix(" ↑").removesuffix(" ↓") for label in labels]
    below: dict[str | None, list[int]] = {}
    for i, name in enumerate(names):
        parts = name.split("/")
        above = ("/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        below.setdefault(next((one for one in above if one in names), None), []).append(i)

    def walk(parent: str | None, depth: int) -> Iterator[tuple[int, int, str]]:
        for i in below.pop(parent, []):
            yield i, depth, labels[i].removeprefix(f"{parent}/")
            yield from walk(names[i], depth + 1)

    yield from walk(None, 0)


def style(cell: Cell) -> str:
    """Colour for better and worse, bold for a row's best value."""
    return f"{'bold ' if cell.best else ''}{STYLES[cell.better]}".strip()
