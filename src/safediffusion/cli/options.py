"""The arguments and options of the commands that several share, or that are many: type, name, help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safediffusion.cli.strength import one_strength
from safediffusion.files.paths import out_path, read_path, source


def recipe_names(incomplete: str) -> list[str]:
    """The recipes whose names begin like that, for the shell's completion."""
    from safediffusion.config import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


Recipe = Annotated[str, typer.Argument(autocompletion=recipe_names)]
Out = Annotated[
    Path | None, typer.Option("--out", parser=out_path, metavar="PATH", help="Where the result is written.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print settings, work and memory; train nothing.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start again in a new folder beside the old one.")]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Memory settings for a GPU: 8gb, 12gb, 16gb, 24gb, 48gb or 80gb."),
]
Card = Annotated[
    int | None,
    typer.Option(
        "--card",
        min=1,
        max=10_000,
        metavar="GB",
        help="With --dry-run: memory of a card that you think of; default: the GPU of this machine.",
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        parser=source,
        metavar="MODEL",
        help="Run folder, diffusers folder, .safetensors checkpoint, hub id, or world; to sample from, also "
        "with a method that acts meanwhile, as in world+sld-strong.",
    ),
]
Load = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="How MODEL is loaded: a setting of the section model, as in --load variant=fp16; repeatable.",
    ),
]
Unet = Annotated[
    Path | None,
    typer.Option(
        parser=read_path,
        metavar="PATH",
        help="Weights for MODEL's UNet: .safetensors, or a diffusers folder.",
    ),
]
TextEncoder = Annotated[
    Path | None,
    typer.Option(parser=read_path, metavar="PATH", help="Weights for MODEL's text encoder, likewise."),
]
Processes = Annotated[int, typer.Option("--nproc", min=1, max=1024, help="Processes that share the work.")]
Run = Annotated[Path, typer.Argument(parser=read_path, metavar="RUN", help="A run folder.")]

ModelOrResults = Annotated[
    str | None,
    typer.Argument(
        parser=source,
        metavar="[MODEL]",
        help="A model, pkg.mod:make that returns one, or a folder of results to score again.",
    ),
]
Tasks = Annotated[
    str | None, typer.Option("--tasks", help="Tasks, separated by commas: names, or pkg.mod:TASK.")
]
Baseline = Annotated[
    str | None,
    typer.Option(parser=source, metavar="MODEL", help="A second model, evaluated alike and compared."),
]
Images = Annotated[
    Path | None,
    typer.Option(parser=read_path, metavar="PATH", help="A folder of images, instead of a model."),
]
Prompts = Annotated[
    Path | None, typer.Option(parser=read_path, metavar="PATH", help="A table of your own prompts.")
]
Column = Annotated[str, typer.Option(help="The column of that table that holds the prompts.")]
Reference = Annotated[
    Path | None, typer.Option(parser=read_path, metavar="PATH", help="A folder of real images, for FID.")
]
Protocols = Annotated[
    str | None, typer.Option(help="Protocols, separated by commas; default: all of a task.")
]
Limit = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Images per task at most.")]
AcceptSensitive = Annotated[
    bool, typer.Option("--accept-sensitive-content", help="Load prompts that ask for harmful images.")
]
Strengths = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        help="Of a run: weights between its base (0) and its result (1) or beyond; several with commas.",
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        parser=one_strength,
        metavar="NUMBER",
        help="Of a run: 0 is its base, 1 its result; or between, or beyond.",
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", help="Denoising steps of all images; default: as in evaluations.")
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        help="Guidance of all images; 1 is off, which models distilled to few steps need. Default: as in "
        "evaluations.",
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LIMIT",
        help="Exit with 3 if a metric breaks a limit, such as world-i2p/inappropriate_rate>0.1; repeatable.",
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option(parser=out_path, metavar="FILE", help="Write the limits as JUnit XML too."),
]
SaveImages = Annotated[bool, typer.Option("--save-images", help="Keep the images.")]
