"""`safediffusion report`, and `--open`, which shows a written file in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from safediffusion.cli.options import Run
from safediffusion.files.paths import read_path
from safediffusion.text.terminal import complain, say

Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]


def report(
    run: Run,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            parser=read_path,
            metavar="RUN_OR_RESULT",
            help="Another model's results to show beside the run's, as RUN/eval/NAME are; repeatable.",
        ),
    ] = None,
    open_it: Open = False,
) -> None:
    """Write RUN/report.html from the files of a run."""
    from safediffusion.report.report import write_report
    from safediffusion.run.session import open_run

    page = write_report(open_run(run), beside or ())
    say(page)
    if open_it:
        open_file(page)


def open_file(path: Path) -> None:
    """Open a file in the browser; where there is none, say where the file is, which is no failure."""
    try:
        opened = webbrowser.open(path.resolve().as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        complain(f"no browser was found here; open {path.resolve()} in one, or copy it to where one is")
