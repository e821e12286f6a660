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

from safediffusion.cli.lookups import GROUPS
from safediffusion.cli.unexpected import tell
from safediffusion.files.paths import image_path, name_list, out_path, read_path, source
from safediffusion.publish.export import Target
from safediffusion.text.terminal import PlainFormatter, complain, say, show
from safediffusion.version import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)

Out = Annotated[
    Path | None, typer.Option("--out", parser=out_path, metavar="PATH", help="Where the result goes.")
]
Model = Annotated[
    str,
    typer.Argument(parser=source, metavar="MODEL", help="Run folder, diffusers folder, hub id, or world."),
]
Processes = Annotated[int, typer.Option("--nproc", min=1, max=1024, help="Processes that share the work.")]
Run = Annotated[Path, typer.Argument(parser=read_path, metavar="RUN", help="A run folder.")]


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
        list[str] | None, typer.Argument(metavar="[RECIPE|FILE.yaml] [key=value]...", help="Default: world.")
    ] = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over in a new folder.")] = False,
    nproc: Processes = 1,
) -> None:
    """Train a model to be safe; the same command again goes on where it stopped."""
    from safediffusion.config import dump, load_config

    words = words or []
    source = words[0] if words and "=" not in words[0] else None
    config = load_config(source, words[1:] if source else words)
    if dry_run:
        from safediffusion.run.plan import preview

        show(f"{dump(config)}\n{preview(config, nproc)}")
        return
    if nproc > 1:
        from safediffusion.launch import launch

        launch(nproc)
        return
    from safediffusion.report.tables import before_after
    from safediffusion.run.train import train as run

    folder = run(config, out, fresh)
    if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        return
    show(before_after(folder))
    say(f"model   {folder.model}", f"report  {folder.report}")


@app.command()
def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            parser=source, metavar="[MODEL]", help="As elsewhere, or a folder of results to re-score."
        ),
    ] = None,
    names: Annotated[str | None, typer.Option("--tasks", help="Task names, separated by commas.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(parser=source, metavar="MODEL", help="A second model, judged alike and compared."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(parser=read_path, metavar="PATH", help="Pictures you have, instead of a model."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(parser=read_path, metavar="PATH", help="Prompts of your own: a table."),
    ] = None,
    column: Annotated[str, typer.Option(help="Where the prompts stand in that table.")] = "prompt",
    reference: Annotated[
        Path | None, typer.Option(parser=read_path, metavar="PATH", help="Real pictures, for FID.")
    ] = None,
    protocols: Annotated[str | None, typer.Option(help="Protocol names, separated by commas.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Images a task at most.")] = None,
    nproc: Processes = 1,
    accept_sensitive: Annotated[
        bool, typer.Option("--accept-sensitive-content", help="Load prompts that ask for harmful pictures.")
    ] = False,
    save_images: Annotated[bool, typer.Option("--save-images", help="Keep the pictures.")] = False,
    out: Out = None,
) -> None:
    """Judge a model or pictures, alone or against a baseline on the same prompts and seeds."""
    from safediffusion.cli.evaluate import EvaluateRequest, judge, judge_images, one_source

    one_source(model, images)
    wish = EvaluateRequest(
        words(names), limit, out, prompts, reference, words(protocols), accept_sensitive, save_images, column
    )
    if nproc > 1:
        from safediffusion.launch import launch

        launch(nproc)
    folders = judge_images(images, wish) if images else judge(model or "", baseline, wish)
    if "RANK" not in os.environ:  # one of several processes has only its share to show
        show_results(folders)


def words(text: str | None) -> tuple[str, ...]:
    """The words of a comma-separated option; none where it was not given."""
    return () if text is None else name_list(text)


def show_results(folders: list[Path]) -> None:
    """The table of one or two results, what is missing, and where the files are."""
    from safediffusion.evaluation.results import shortfalls

    compare(folders)
    say(*shortfalls(folders), folders[-1])


@app.command()
def sample(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path,
        typer.Option(parser=image_path, metavar="PATH", help="The picture to write, as its ending says."),
    ] = Path("sample.png"),
    compare: Annotated[
        str | None, typer.Option(parser=source, metavar="MODEL", help="A second model, shown beside it.")
    ] = None,
) -> None:
    """Draw pictures."""
    from safediffusion.cli.sample import draw

    draw(model, prompts, seed, out, compare)
    say(out)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(parser=read_path, metavar="RUN_OR_RESULT...")],
    out: Out = None,
) -> None:
    """Put runs or results side by side, with intervals; --out writes the table as .md, .csv, .tex, .json."""
    from safediffusion.cli.compare import compare as side_by_side

    side_by_side(results, out)


@app.command()
def report(run: Run) -> None:
    """Write RUN/report.html from the run's files."""
    from safediffusion.report.report import write_report
    from safediffusion.run.session import open_run

    say(write_report(open_run(run)))


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
    from safediffusion.publish.export import export as copy

    say(*copy(run, to, out, push))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Check this machine; exit code 1 if something is in the way."""
    from safediffusion.cli.doctor import examine, report_json

    checks = examine()
    if as_json:
        show(json.dumps(report_json(checks), indent=2))
    else:
        for check in checks:
            say(f"{'ok ' if check.ok else 'BAD'}  {check.name:<12} {check.detail}")
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
    handler.setFormatter(PlainFormatter())
    logging.getLogger("safediffusion").handlers = [handler]
    try:
        code = app(args=[word for word in words if word not in verbose], standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # who reads our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if verbose:
            complain(*traceback.format_exc().rstrip().split("\n"))
        sys.exit(explain(error, bool(verbose)))
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception, verbose: bool) -> int:
    """Print an error in one line; returns the exit code."""
    usage = getattr(error, "format_message", None)  # of the parser of the command line
    if usage:
        if text := usage().strip():  # empty where help was printed instead
            where = getattr(getattr(error, "ctx", None), "command_path", "safediffusion")
            complain(f"Error: {text} See: {where} --help")
        return 2
    told = tell(error, verbose)
    complain(f"Error: {told.text}")
    return told.code
