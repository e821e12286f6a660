"""`safediffusion baseline`: other safety methods, to stand beside this one on the same pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from safediffusion.cli.options import Load, Model, Out
from safediffusion.text.terminal import say, show
from safediffusion.text.words import as_file_name

baseline = typer.Typer(
    no_args_is_help=True, help="Other safety methods: models made by them, to compare with."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A baseline, as `baseline list` names it.")]


@baseline.command("list")
def baseline_list() -> None:
    """List all baselines."""
    from safediffusion.baselines.method import WeightMethod
    from safediffusion.baselines.registry import METHODS

    table = Table("name", "kind", "families", "paper")
    for method in METHODS.values():
        kind = "writes weights" if isinstance(method, WeightMethod) else "while sampling"
        table.add_row(method.name, kind, ", ".join(method.families), method.paper)
    show(table)


@baseline.command("show")
def baseline_show(name: Name) -> None:
    """Print a baseline's formulas, its concepts and its options with their defaults."""
    from inspect import getdoc

    from safediffusion.baselines.method import SamplingMethod, WeightMethod
    from safediffusion.baselines.registry import find_method
    from safediffusion.config.invalid import written

    method = find_method(name)
    say(
        f"{method.name}: {method.summary}",
        f"paper: {method.paper}",
        f"families: {', '.join(method.families)}",
    )
    say(f"concepts: {method.concepts}; for world {method.world_concepts}", "")
    show(getdoc(type(method)) or "")
    if isinstance(method, SamplingMethod):
        say(f"use: MODEL+{name} or MODEL+{name}:LIST of concepts")
        for key, value in method.settings.items():
            say(f"setting: MODEL+{name}@{key}={value:g} (the default)")
    if isinstance(method, WeightMethod):
        table = Table("option", "default", "meaning")
        for key, value in method.options.model_dump().items():
            about = type(method.options).model_fields[key].description or ""
            table.add_row(key, written(value), about)
        show(table)


@baseline.command("make")
def baseline_make(
    name: Name,
    model: Model,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Options of the baseline.")
    ] = None,
    concepts: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="What it moves away from: a list by name (nudity, i2p11, sld20, World's words, phrases and "
            "pairs), a file, or phrases with commas between them; default: the baseline's own.",
        ),
    ] = None,
    out: Out = None,
    load: Load = None,
) -> None:
    """Write the model that a baseline makes of another one, as an ordinary pipeline folder."""
    from safediffusion.baselines.make import make
    from safediffusion.baselines.registry import find_method
    from safediffusion.config.load import parse_words
    from safediffusion.models.named import loading, run_config

    method, values = find_method(name), parse_words(options or [])
    target = out or Path(f"{as_file_name(model.rstrip('/'))}-{name}")
    say(make(method, loading(run_config(model, load or ()), model), concepts, values, target))
