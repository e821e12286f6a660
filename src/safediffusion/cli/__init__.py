"""The command line: one file per command; `app` is the typer application, `main` the entry point."""

from safediffusion.cli.app import app, main

__all__ = ["app", "main"]
