"""The only module that writes to a terminal; text from outside cannot style it, move the cursor or hide."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from safediffusion.text.escaping import plain


def say(*lines: object) -> None:
    """Print one line per argument."""
    for line in lines:
        typer.echo(plain(line))


def complain(*lines: object) -> None:
    """Print one line per argument on stderr, in red."""
    for line in lines:
        typer.secho(plain(line), err=True, fg="red")


def show(table: RenderableType) -> None:
    """Print a rich table, or a text of several lines; markup inside the text has no effect."""
    console = Console(markup=False, emoji=False, highlight=False)
    if isinstance(table, str):
        say(*table.split("\n"))
    else:
        console.print(Shown(table))


class Shown:
    """A rich object whose text cannot steer the terminal, whatever its cells hold."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self.inner, options):
            shown = text if text == "\n" else "\n".join(map(plain, text.split("\n")))
            yield Segment(shown, style, control)


class PlainFormatter(logging.Formatter):
    """Log lines that stay one line each."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the line, with control characters written out."""
        return plain(super().format(record))
