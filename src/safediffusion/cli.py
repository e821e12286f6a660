"""The command line: one small function a command, heavy imports inside, errors as one line and an exit code.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM; -v adds the traceback.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .commands import GROUPS, show
from .errors import RunError, UserError
from .export import Target

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)

Out = Annotated[Path | None, typer.Option("--out", help="Where the result goes.")]
Model = Annotated[str, typer.Argument(help="Run folder, diffusers folder, hub id, or world.")]
Processes = Annotated[int, typer.Option("--nproc", min=1, help="Processes that share the work.")]
Run = Annotated[Path, typer.Argument(help="A run folder.")]


@app.callback()
def about(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show tracebacks and library messages.")
    ] = False,
) -> None:
    """Make text-to-image diffusion models safe by reinforcement learning with a steering reward."""


@app.command()
def train(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE|FILE.yaml] [key=value]...", help="Default: world.")
    ] = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over in a new folder.")] = False,
    nproc: Processes = 1,
) -> None:
    """Train a model to be safe; the same command again goes on where it stopped."""
    from .config import dump, load_config

    words = words or []
    source = words[0] if words and "=" not in words[0] else None
    config = load_config(source, words[1:] if source else words)
    if dry_run:
        from .plan import preview

        typer.echo(f"{dump(config)}\n{preview(config, nproc)}")
        return
    if nproc > 1:
        from .launch import launch

        launch(nproc)
        return
    from .report.tables import before_after
    from .train import train as run

    folder = run(config, out, fresh)
    if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        return
    show(before_after(folder))
    typer.echo(f"model   {folder.model}\nreport  {folder.report}")


@app.command()
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="As elsewhere, or a folder of results to re-score.")
    ] = None,
    names: Annotated[str, typer.Option("--tasks", help="Task names, separated by commas.")] = "",
    baseline: Annotated[str | None, typer.Option(help="A second model, judged alike and compared.")] = None,
    images: Annotated[Path | None, typer.Option(help="Pictures you have, instead of a model.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts of your own: a table.")] = None,
    column: Annotated[str, typer.Option(help="Where the prompts stand in that table.")] = "prompt",
    reference: Annotated[Path | None, typer.Option(help="Real pictures, for FID.")] = None,
    protocols: Annotated[str, typer.Option(help="Protocol names, separated by commas.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Images a task at most.")] = None,
    nproc: Processes = 1,
    accept_sensitive: Annotated[
        bool, typer.Option("--accept-sensitive-content", help="Load prompts that ask for harmful pictures.")
    ] = False,
    save_images: Annotated[bool, typer.Option("--save-images", help="Keep the pictures.")] = False,
    out: Out = None,
) -> None:
    """Judge a model or pictures, alone or against a baseline on the same prompts and seeds."""
    from .judge import Wish, judge, judge_images, one_source

    one_source(model, images)
    wish = Wish(
        words(names), limit, out, prompts, reference, words(protocols), accept_sensitive, save_images, column
    )
    if nproc > 1:
        from .launch import launch

        launch(nproc)
    folders = judge_images(images, wish) if images else judge(model or "", baseline, wish)
    if "RANK" not in os.environ:  # one of several processes has only its share to show
        show_results(folders)


def words(text: str) -> tuple[str, ...]:
    """The words of a comma-separated option."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def show_results(folders: list[Path]) -> None:
    """The table of one or two results, what is missing, and where the files are."""
    from .evaluate.results import shortfalls

    compare(folders)
    for line in shortfalls(folders):
        typer.echo(line)
    typer.echo(str(folders[-1]))


@app.command()
def sample(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("sample.png"),
    compare: Annotated[str | None, typer.Option(help="A second model, shown beside it.")] = None,
) -> None:
    """Draw pictures."""
    from .sample import draw

    draw(model, prompts, seed, out, compare)
    typer.echo(str(out))


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RUN_OR_RESULT...")], out: Out = None
) -> None:
    """Put runs or results side by side, with intervals; --out writes the table as .md, .csv, .tex, .json."""
    from .compare import compare as side_by_side

    side_by_side(results, out)


@app.command()
def report(run: Run) -> None:
    """Write RUN/report.html from the run's files."""
    from .report.report import write_report
    from .session import open_run

    typer.echo(str(write_report(open_run(run))))


@app.command()
def export(
    run: Run,
    to: Annotated[Target, typer.Option(help="diffusers, lora, or kohya.")] = Target.diffusers,
    out: Out = None,
    push: Annotated[
        str | None, typer.Option(metavar="REPO", help="Push it to the hub too, as OWNER/NAME; private.")
    ] = None,
) -> None:
    """Copy a run's model for other programs."""
    from .export import export as copy

    typer.echo("\n".join(copy(run, to, out, push)))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Check this machine; exit code 1 if something is in the way."""
    from .doctor import examine, report_json

    checks = examine()
    if as_json:
        typer.echo(json.dumps(report_json(checks), indent=2))
    else:
        for check in checks:
            typer.echo(f"{'ok ' if check.ok else 'BAD'}  {check.name:<12} {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def quiet() -> None:
    """Silence the libraries, before they are imported: warnings, logs, progress bars."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' bars; our own line asks to be shown
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


def main() -> None:
    """The command line of one process."""
    try:
        run()
    except SystemExit as end:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and isinstance(end.code, int):
            # gloo's threads may outlive the interpreter, and one that then asks for it aborts the process
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        raise


def run() -> NoReturn:
    """Run a command and turn its errors into one line and an exit code."""
    words = sys.argv[1:]
    verbose = [word for word in words if word in ("-v", "--verbose")]  # accepted anywhere on the line
    if not verbose:
        quiet()
    one_of_several = os.environ.get("RANK", "0") != "0"  # what all of them notice, the first one says
    handler = logging.NullHandler() if one_of_several else logging.StreamHandler()
    logging.getLogger("safediffusion").handlers = [handler]
    try:
        app(args=[word for word in words if word not in verbose])
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        expected = isinstance(error, UserError | RunError)
        hint = "" if expected or verbose else f" ({type(error).__name__}; -v shows where)"
        typer.secho(f"Error: {error}{hint}", err=True, fg="red")
        sys.exit(2 if isinstance(error, UserError) else 1)
    sys.exit(0)
