"""The command line: one file per command; `app` is the typer application, `main` the entry point."""

from safediffusion.cli.commands import app
from safediffusion.cli.entry import main

__all__ = ["app", "main"]
