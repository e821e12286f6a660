"""The command line: one small function per command.

Heavy modules are imported inside the functions, so that `--help` is fast.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from safediffusion.cli.lookups import GROUPS
from safediffusion.cli.options import (
    AcceptSensitive,
    Baseline,
    Card,
    Column,
    DryRun,
    FailIf,
    Fresh,
    Guidance,
    Images,
    Junit,
    Limit,
    Load,
    Model,
    ModelOrResults,
    Out,
    Preset,
    Processes,
    Prompts,
    Protocols,
    Reference,
    Run,
    SaveImages,
    Steps,
    Strength,
    Strengths,
    Tasks,
    TextEncoder,
    Unet,
    recipe_names,
)
from safediffusion.cli.report import report
from safediffusion.cli.ui import ui
from safediffusion.errors import UserError
from safediffusion.files.paths import image_path, name_list, read_path, source
from safediffusion.publish.export import Target
from safediffusion.system.launched import is_launched, launched_rank
from safediffusion.text.terminal import say, show
from safediffusion.version import __version__

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


def show_version(wanted: bool) -> None:
    """Print the version and end the command."""
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def about(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show tracebacks and library messages.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Print the version.")
    ] = False,
) -> None:
    """Make text-to-image diffusion models safe by reinforcement learning with a steering reward."""


@app.command()
def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE|FILE.yaml] [key=value]...",
            help="Recipe and settings; default: world.",
            autocompletion=recipe_names,
        ),
    ] = None,
    out: Out = None,
    dry_run: DryRun = False,
    fresh: Fresh = False,
    preset: Preset = None,
    card: Card = None,
    nproc: Processes = 1,
) -> None:
    """Train a model to be safe. The same command resumes a run that was stopped."""
    from safediffusion.config import dump, load_config

    words = words or []
    source = words[0] if words and "=" not in words[0] else None
    settings = words[1:] if source else words
    config = load_config(source, settings, preset)
    if dry_run:
        from safediffusion.run.machine import at_hand
        from safediffusion.run.plan import preview
        from safediffusion.run.session import run_root

        plan = preview(config, nproc, settings)
        show(f"{dump(config)}\n{plan}\n{at_hand(plan, card, run_root(config, out))}")
        return
    if card is not None:
        raise UserError("--card compares a plan with a card; add --dry-run, or leave out --card")
    if nproc > 1:
        from safediffusion.launch import launch

        launch(nproc)
        return
    from safediffusion.report.tables import before_after
    from safediffusion.run.train import train as run

    folder = run(config, out, fresh)
    if launched_rank() > 0:  # only the main process prints the result
        return
    show(before_after(folder))
    say(f"model   {folder.model}", f"report  {folder.report}")


@app.command()
def evaluate(
    model: ModelOrResults = None,
    names: Tasks = None,
    baseline: Baseline = None,
    unet: Unet = None,
    text_encoder: TextEncoder = None,
    images: Images = None,
    prompts: Prompts = None,
    column: Column = "prompt",
    reference: Reference = None,
    protocols: Protocols = None,
    limit: Limit = None,
    nproc: Processes = 1,
    accept_sensitive: AcceptSensitive = False,
    save_images: SaveImages = False,
    out: Out = None,
    fail_if: FailIf = None,
    junit: Junit = None,
    strength: Strengths = None,
    load: Load = None,
    steps: Steps = None,
    guidance: Guidance = None,
) -> None:
    """Evaluate a model or images, alone or against a baseline on the same prompts and seeds."""
    from safediffusion.cli.dial import evaluate_strengths, show_curve
    from safediffusion.cli.evaluate import EvaluateRequest, check_one_source, evaluate_folder, evaluate_models
    from safediffusion.cli.gate import BROKEN, gate, read_limits
    from safediffusion.cli.strength import read_strengths
    from safediffusion.models.images import Sampler

    check_one_source(model, images)
    request = EvaluateRequest(
        tasks=split_names(names),
        limit=limit,
        out=out,
        prompts=prompts,
        column=column,
        reference=reference,
        protocols=split_names(protocols),
        accept_sensitive=accept_sensitive,
        save_images=save_images,
        parts=given_parts(unet, text_encoder),
        limits=read_limits(fail_if or (), junit),
        load=load or (),
        sampler=Sampler(steps, guidance),
    )
    if nproc > 1:
        from safediffusion.launch import launch

        launch(nproc)
    dial = read_strengths(strength, images)
    if images:
        folders = evaluate_folder(images, request)
    elif dial:
        folders = evaluate_strengths(model or "", baseline, dial, request)
    else:
        folders = evaluate_models(model or "", baseline, request)
    if not is_launched():  # one of several processes has only a share of the results
        show_results(folders)
        if dial and out is None:
            show_curve(model or "")
        if request.limits and not gate(folders[-1], request.limits, junit):
            raise typer.Exit(BROKEN)


def given_parts(unet: Path | None, text_encoder: Path | None) -> dict[str, Path]:
    """The parts of a model that are replaced, by their names in the pipeline."""
    given = {"unet": unet, "text_encoder": text_encoder}
    return {part: path for part, path in given.items() if path is not None}


def split_names(text: str | None) -> tuple[str, ...]:
    """The names in a comma-separated option; none where the option is not given."""
    return () if text is None else name_list(text)


def show_results(folders: list[Path]) -> None:
    """Print the table of one or two results, what is missing in them, and where the files are."""
    from safediffusion.evaluation.results import shortfalls

    compare(folders)
    say(*shortfalls(folders), folders[-1])


@app.command()
def sample(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; the next images count up.")] = 0,
    out: Annotated[
        Path,
        typer.Option(
            parser=image_path, metavar="PATH", help="The image file to write; its ending names the format."
        ),
    ] = Path("sample.png"),
    compare: Annotated[
        str | None,
        typer.Option(
            parser=source, metavar="MODEL", help="A second model; its images are shown beside the first ones."
        ),
    ] = None,
    unet: Unet = None,
    text_encoder: TextEncoder = None,
    strength: Strength = None,
    load: Load = None,
    steps: Steps = None,
    guidance: Guidance = None,
) -> None:
    """Sample one image per prompt."""
    from safediffusion.cli.sample import draw
    from safediffusion.models.images import Sampler
    from safediffusion.models.loaded import Changes

    changes = Changes(given_parts(unet, text_encoder), strength, load or ())
    draw(model, prompts, seed, out, compare, changes, Sampler(steps, guidance))
    say(out)


@app.command()
def relapse(
    model: Model,
    names: Tasks = None,
    base: Annotated[
        str | None,
        typer.Option(parser=source, metavar="MODEL", help="A model judged beside it; of a run its own base."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(parser=read_path, metavar="DIR", help="Harmless pictures, with captions in NAME.txt."),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            parser=source, metavar="FILE", help="Harmless captions that the model draws, or the word world."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Optimizer steps.")] = 200,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Pictures per step.")] = 16,
    lr: Annotated[float, typer.Option(help="AdamW's learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of pictures and steps.")] = 0,
    limit: Limit = None,
    accept_sensitive: AcceptSensitive = False,
    out: Out = None,
    load: Load = None,
    denoising: Annotated[
        int | None,
        typer.Option(
            "--denoising-steps", min=1, max=10_000, help="Steps of the sampler; default: as in evaluations."
        ),
    ] = None,
    guidance: Guidance = None,
) -> None:
    """Fine-tune a model on harmless pictures, and judge on the way whether it stays safe."""
    from safediffusion.cli.relapse import run_relapse
    from safediffusion.evaluation.results import shortfalls
    from safediffusion.models.images import Sampler
    from safediffusion.run.relapse.relapse import RelapseSettings

    sampler = Sampler(denoising, guidance)
    settings = RelapseSettings(steps, batch, lr, seed, split_names(names), limit, captions, images, sampler)
    folder, done = run_relapse(model, base, settings, out, accept_sensitive, load or ())
    compare(done)
    say(*shortfalls(done), folder)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(parser=read_path, metavar="RUN_OR_RESULT...")],
    out: Out = None,
) -> None:
    """Compare runs or results in one table with intervals; --out writes it as .md, .csv, .tex or .json."""
    from safediffusion.cli.compare import compare as side_by_side

    side_by_side(results, out)


@app.command()
def export(
    run: Run,
    to: Annotated[
        Target, typer.Option(help="Form of the export: diffusers, lora or kohya.")
    ] = Target.diffusers,
    out: Out = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Also push it to a private repository of the hub, OWNER/NAME."),
    ] = None,
) -> None:
    """Copy the model of a run for use in other programs."""
    from safediffusion.publish.export import export as copy

    say(*copy(run, to, out, push))


@app.command()
def doctor(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name or file, whose needs are compared with this machine.",
            autocompletion=recipe_names,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check this machine; exit code 1 if something is missing."""
    from safediffusion.cli.doctor import examine, report_json

    checks = examine(recipe)
    if as_json:
        show(json.dumps(report_json(checks), indent=2))
    else:
        for check in checks:
            say(f"{'ok ' if check.ok else 'BAD'}  {check.name:<12} {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


for command in (report, ui):
    app.command()(command)
