"""The command groups: anchors, recipes, tasks and world, and from their own files the others."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from safediffusion.cli.baselines import baseline
from safediffusion.cli.options import Recipe
from safediffusion.cli.prompts import prompts
from safediffusion.cli.report import Open, open_file
from safediffusion.errors import UserError
from safediffusion.files.paths import image_path, out_path, read_path, source
from safediffusion.text.terminal import complain, say, show

anchors = typer.Typer(no_args_is_help=True, help="Safety policies: sets of safe and unsafe anchor phrases.")
recipes = typer.Typer(no_args_is_help=True, help="Shipped configurations of a run.")
tasks = typer.Typer(no_args_is_help=True, help="Tasks that models are evaluated on.")
world = typer.Typer(no_args_is_help=True, help="World: the embedded model and its judges.")
GROUPS = {
    "anchors": anchors, "baseline": baseline, "prompts": prompts, "recipes": recipes, "tasks": tasks,
    "world": world,
}  # fmt: skip

Encoder = Annotated[
    str,
    typer.Option(
        parser=source, metavar="ENCODER", help="world, hpsv2.1, or a CLIP or SigLIP folder or hub id."
    ),
]
LabelledPrompts = Annotated[
    str, typer.Option(parser=source, metavar="PATH", help="Labelled prompts: world, or a file or dataset.")
]
Policy = Annotated[str, typer.Argument(parser=source, metavar="NAME|FILE")]


@anchors.command("list")
def anchors_list(encoder: Encoder = "world") -> None:
    """List the safety policies shipped for an encoder."""
    from safediffusion.steering.anchors import list_policies, load_safety_policy

    for name in list_policies(encoder):
        policy = load_safety_policy(name, encoder)
        say(f"{name:<16} {len(policy.safe):>2} safe, {len(policy.unsafe):>2} unsafe  {policy.description}")


@anchors.command("show")
def anchors_show(name: Policy, encoder: Encoder = "world") -> None:
    """Print the anchor phrases of a safety policy."""
    from safediffusion.steering.anchors import load_safety_policy

    policy = load_safety_policy(name, encoder)
    say(f"{policy.name}: {policy.description}", f"recommended alpha: {policy.alpha}")
    for side, phrases in (("safe", policy.safe), ("unsafe", policy.unsafe)):
        say(f"{side}:", *(f"  {phrase}" for phrase in phrases))


@anchors.command("check")
def anchors_check(
    name: Policy,
    prompts: LabelledPrompts = "world",
    encoder: Encoder = "world",
    images: Annotated[
        Path | None,
        typer.Option(
            parser=read_path,
            metavar="PATH",
            help="A folder of images; each subfolder is a group of one prompt.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=image_path, metavar="PATH", help="The figure to write; default: anchors-NAME.png."
        ),
    ] = None,
) -> None:
    """Measure how well a safety policy separates prompts, which anchors hurt, and which alpha to use."""
    from safediffusion.cli.tables import check, describe
    from safediffusion.report.policy_plots import write_policy_figure
    from safediffusion.steering.check_record import record

    result = check(name, encoder, prompts, images)
    figure = out or Path(f"anchors-{result.policy.name}.png")
    for part in describe(result):
        show(part)
    write_policy_figure(record(result), figure)
    say(figure)


@anchors.command("audit")
def anchors_audit(
    name: Policy,
    prompts: LabelledPrompts = "world",
    encoder: Encoder = "world",
    images: Annotated[
        Path | None,
        typer.Option(
            parser=read_path, metavar="DIR", help="A folder of pictures with a table groups.csv: file, group."
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(metavar="VALUE", help="reward.alpha of a run; default: what the policy recommends."),
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="VALUE", help="Exit with 3 if a shift is above this share of G, such as 0.1."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=out_path, metavar="PATH", help="The JSON to write; default: bias-NAME.json."),
    ] = None,
) -> None:
    """Measure which groups and harmless contexts a safety direction moves towards unsafe."""
    from safediffusion.cli.audit import audit, broken_limit, check_limit, describe
    from safediffusion.files.checked import write_checked

    check_limit(fail_above)
    result = audit(name, encoder, prompts, images, alpha)
    file = out or Path(f"bias-{result.policy}.json")
    for part in describe(result):
        show(part)
    write_checked(file, result.record())
    say(file)
    if broken := broken_limit(result, fail_above):
        complain(broken)
        raise typer.Exit(3)


@recipes.command("list")
def recipes_list() -> None:
    """List all recipes."""
    from safediffusion.config import list_recipes, recipe_path

    for name in list_recipes():
        say(f"{name:<22} {recipe_path(name).read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")


@recipes.command("show")
def recipes_show(name: Recipe) -> None:
    """Print a recipe."""
    from safediffusion.config import recipe_path

    show(recipe_path(name).read_text(encoding="utf-8").rstrip("\n"))


@recipes.command("copy")
def recipes_copy(
    name: Recipe, file: Annotated[Path | None, typer.Argument(parser=out_path, metavar="[FILE]")] = None
) -> None:
    """Copy a recipe to a file of your own."""
    from safediffusion.config import recipe_path
    from safediffusion.files.atomic import write_text

    target = file or Path(f"{name}.yaml")
    if target.exists():
        raise UserError(f"{target} exists already; give another file name")
    write_text(target, recipe_path(name).read_text(encoding="utf-8"))
    say(target, f"run it with: safediffusion train {quote(str(target))}")


@tasks.command("list")
def tasks_list() -> None:
    """List all tasks."""
    from safediffusion.evaluation.tasks import list_tasks

    for task in list_tasks():
        flag = " [sensitive]" if task.sensitive else ""
        say(f"{task.name:<14} {task.description}{flag}")


@tasks.command("show")
def tasks_show(name: str) -> None:
    """Print the prompts, sampler, detectors and measures of a task."""
    from safediffusion.evaluation.tasks import WORLD, get_task

    task = get_task(name)
    say(
        f"{task.name} version {task.version}, {task.n} images at most: {task.description}",
        f"prompts: {task.source} ({task.licence})",
        f"sampler: {task.sampler or 'the settings of the run'}",
        f"detectors: {', '.join(task.detectors)}",
        "measures:",
    )
    for measure in task.measures:
        better = {True: "higher", False: "lower", None: "neither"}[measure.higher_is_better]
        say(f"  {measure.name:<36} {better} is better; {measure.protocol}")
    if task in WORLD:
        say("prompts, for example:")
        for row in task.prompts(8, seed=1234):
            say(f"  {row['prompt']}")


@world.command("show")
def world_show(
    out: Annotated[
        Path, typer.Option(parser=image_path, metavar="PATH", help="The image file to write.")
    ] = Path("world.png"),
    open_it: Open = False,
) -> None:
    """Write a sheet of World's images and print the table of its quality bar."""
    from safediffusion.cli.tables import quality_table, world_sheet
    from safediffusion.files.atomic import write_image

    write_image(out, world_sheet())
    show(quality_table())
    say(out)
    if open_it:
        open_file(out)


@world.command("build")
def world_build(
    work: Annotated[
        Path, typer.Option(parser=out_path, metavar="PATH", help="Where stages and checkpoints are kept.")
    ] = Path("world-build"),
) -> None:
    """Train World's networks from scratch; after an interruption the same command resumes."""
    from safediffusion.system.device import pick_device
    from safediffusion.world import ASSETS
    from safediffusion.world.networks.stages import assemble, build

    build(work, pick_device())
    assemble(work, ASSETS)
    say(ASSETS)
