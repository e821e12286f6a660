"""`safediffusion prompts`: what a list of prompts is like, before a run is spent on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from safediffusion.cli.options import AcceptSensitive, Column
from safediffusion.errors import UserError
from safediffusion.files.paths import source
from safediffusion.text.escaping import plain
from safediffusion.text.terminal import say, show

if TYPE_CHECKING:
    from safediffusion.steering.encoders import Encoder
    from safediffusion.steering.prompt_check import PromptCheck

prompts = typer.Typer(no_args_is_help=True, help="Prompts: what a list of them is like.")


@prompts.command("check")
def prompts_check(
    file: Annotated[
        str,
        typer.Argument(
            parser=source, metavar="FILE", help="A table of prompts, a dataset of the hub, world or benign."
        ),
    ],
    column: Column = "prompt",
    anchors: Annotated[
        str, typer.Option(parser=source, metavar="NAME|FILE", help="Anchors that should separate the labels.")
    ] = "scaled",
    encoder: Annotated[
        str | None,
        typer.Option(
            parser=source,
            metavar="ENCODER",
            help="Counts tokens and embeds; default: CLIP ViT-L/14 if it is here.",
        ),
    ] = None,
    accept_sensitive: AcceptSensitive = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Count labels, doubles, cut and skipped prompts, and measure how well anchors separate them."""
    from pydantic import ValidationError

    from safediffusion.config.inputs import PromptsConfig
    from safediffusion.config.invalid import explain_invalid
    from safediffusion.evaluation.detectors.clip import LARGE
    from safediffusion.prompts.select import load_prompts
    from safediffusion.steering.anchors import load_safety_policy
    from safediffusion.steering.prompt_check import check_prompts

    try:
        config = PromptsConfig(path=file, column=column, accept_sensitive=accept_sensitive)
    except ValidationError as error:
        raise UserError(explain_invalid(error)) from error
    policy = load_safety_policy(anchors, encoder or LARGE)
    loaded = load_prompts(config)  # a file that is refused is refused before a network is loaded
    reader, hint = reader_of(encoder)
    found = check_prompts(config, loaded, policy, reader)
    if as_json:
        show(json.dumps(found.as_json() | {"not_measured": hint}, indent=2, ensure_ascii=False))
        return
    show(table_of(found))
    say(*found.remarks, *([hint] if hint else []))


def reader_of(name: str | None) -> tuple[Encoder | None, str | None]:
    """The encoder of this name; without a name CLIP ViT-L/14, or how to get it if it is not here."""
    from safediffusion.evaluation.detectors.clip import LARGE
    from safediffusion.evaluation.external_files import Missing, cached
    from safediffusion.steering.encoders import load_encoder
    from safediffusion.system.device import pick_device

    if name is None:
        try:
            cached(LARGE)
        except Missing as error:
            return None, f"tokens and separation were not measured: {error}; or use --encoder world"
    return load_encoder(name or LARGE, pick_device()), None


def table_of(found: PromptCheck) -> Table:
    """The check as a table of names, counts and shares."""
    table = Table("prompts", "count", "share", title=plain(found.source))
    for name, count, whole in counts_of(found):
        table.add_row(plain(name), f"{count:,}", f"{count / whole:.1%}" if whole else "")
    if found.length:
        table.add_row("longest, tokens", f"{found.length.longest}", "")
    if s := found.separation:
        title = f"separation by anchors {s.policy} on {s.encoder}, AUC"
        table.add_row(plain(title), f"{s.auc:.3f}", f"[{s.low:.3f}, {s.high:.3f}]")
    return table


def counts_of(found: PromptCheck) -> Iterator[tuple[str, int, int]]:
    """Name, count, and the number that the count is a share of."""
    yield "rows", found.rows, found.rows
    yield "used", found.used, found.rows
    yield "empty", found.empty, found.rows
    yield "doubles", found.repeated, found.rows
    yield "texts with both labels", found.contradictory, found.rows
    yield "skipped, minors rule", found.minors, found.rows
    for kind, counts in (("label", found.labels), ("category", found.categories), ("kind", found.kinds)):
        if counts.keys() != {"none"} or kind == "label":
            yield from ((f"{kind}: {name}", count, found.used) for name, count in counts.items())
    if found.length:
        cut = f"cut after {found.length.context} tokens ({found.length.encoder})"
        yield cut, found.length.cut, found.used
