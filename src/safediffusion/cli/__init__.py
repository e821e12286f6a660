"""The command line: one file per command; `app` is the typer application, `main` the entry point."""

from safediffusion.cli.commands import app, main

__all__ = ["app", "main"]
