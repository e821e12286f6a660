"""`safediffusion ui`: the page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safediffusion.files.paths import read_path
from safediffusion.text.terminal import say


def ui(
    runs_dir: Annotated[
        Path,
        typer.Argument(parser=read_path, metavar="[RUNS_DIR]", help="The folder with the run folders."),
    ] = Path("runs"),
    host: Annotated[
        str, typer.Option(help="Address of this machine; any but 127.0.0.1 lets others in, with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 7860,
    token: Annotated[
        str | None,
        typer.Option(help="What the browser has to know; one is made where others can connect."),
    ] = None,
) -> None:
    """Open a page for the browser: try prompts, edit policies, start and watch runs, compare results."""
    from safediffusion.ui.serve import Address, serve

    serve(runs_dir, Address(host, port, token), lambda url: say(f"open {url}", "Ctrl-C ends it"))
