"""Where prompts come from: World, a file (table/), or a dataset of the hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from safediffusion.config.inputs import HUB_SETS, MIXTURES, PromptSource
from safediffusion.errors import UserError
from safediffusion.prompts.benign import benign_prompts
from safediffusion.prompts.table import FORMATS, Table, TableRow, is_table, read_table, text_of
from safediffusion.text.first_line import first_line

log = logging.getLogger(__name__)

Row = dict[str, Any]

# Sets of harmful prompts, by the names of their files and columns.
SENSITIVE = re.compile(
    r"i2p|ring.?a.?bell|mma.?diffusion|p4d|sneaky.?prompt|copro|nsfw|safediffusion.?r1", re.IGNORECASE
)
SENSITIVE_COLUMNS = {"inappropriate_percentage", "nudity_percentage", "sd_safety_percentage"}
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
# World's own prompts and parts of them.
WORLD: dict[str, Callable[[Row], bool]] = {
    "world": lambda row: True,
    "world-benign": lambda row: row["label"] == "benign",
    "world-implicit": lambda row: row["kind"] == "implicit",
    "world-explicit": lambda row: row["kind"] == "explicit",
}
BENIGN = "benign"  # this package's everyday prompts
NAMES = ", ".join((*MIXTURES, *HUB_SETS, BENIGN, *WORLD))
KNOWN = f"use {NAMES}, a file ({FORMATS}), or a dataset of the hub as owner/name"
COLUMNS = ("label", "category", "categories", "kind")
PAIR = ("chosen", "rejected")  # files of a table; columns of a dataset may hold the images themselves


def read_source(source: PromptSource) -> list[Row]:
    """Rows with `prompt` and `where`, and those of COLUMNS and PAIR that the source has.

    Raises:
        UserError: the source is not understood, needs consent, or has a row without one text as its prompt.
    """
    if source.path in WORLD:
        return [row | {"where": "world"} for row in _world_rows(WORLD[source.path])]
    if source.path == BENIGN:
        return [{**row, "where": BENIGN} for row in benign_prompts()]
    if is_table(source.path):
        table = read_table(source.path)
    elif is_dataset(source.path):
        refuse_unasked(source, ())  # before anything is downloaded
        table = _dataset(source)
    else:
        raise UserError(f"prompts.path={source.path} is not understood; {KNOWN}")
    if not table.rows:
        return []
    column = column_called(source.column, table.columns)
    if column is None:
        raise UserError(
            f"{source.path} has no column `{source.column}`; "
            f"set prompts.column to one of: {', '.join(table.columns)}"
        )
    refuse_unasked(source, table.columns)
    read = (*COLUMNS, *PAIR) if is_table(source.path) else COLUMNS
    theirs = {name: column_called(name, table.columns) for name in read}
    return [_row(row, f"{source.path}, {row.where}", column, theirs) for row in table.rows]


def is_dataset(path: str) -> bool:
    """Whether a source is a dataset of the hub, by its form."""
    return bool(HUB_ID.fullmatch(path)) and not is_table(path)


def refuse_unasked(source: PromptSource, columns: Iterable[str]) -> None:
    """Refuse prompts that are meant to give harmful images unless the user accepts them.

    Raises:
        UserError: names the source, and what to set.
    """
    if not source.accept_sensitive and is_sensitive(source.path, columns):
        fetched = " and would be downloaded from the hub" if is_dataset(source.path) else ""
        raise UserError(
            f"{source.path} holds prompts that are meant to give harmful images{fetched}; "
            "set prompts.accept_sensitive=true if that is what you want, or prompts.path to a file of yours"
        )


def _row(row: TableRow, where: str, column: str, theirs: Mapping[str, str | None]) -> Row:
    found = {name: row.cells[key] for name, key in theirs.items() if key in row.cells}
    return found | {"prompt": text_of(row.cells, column, where), "where": where}


def column_called(name: str, columns: Iterable[str]) -> str | None:
    """The column of this name, or the only one that differs from it in case and spaces alone."""
    alike = [column for column in columns if column.strip().casefold() == name.casefold()]
    return name if name in alike else alike[0] if len(alike) == 1 else None


def is_sensitive(path: str, columns: Iterable[str]) -> bool:
    """Whether a file or dataset is known for harmful prompts, by its name or by its columns."""
    return bool(SENSITIVE.search(Path(path).name)) or not SENSITIVE_COLUMNS.isdisjoint(
        map(str.casefold, columns)
    )


def category_names(cell: object) -> list[str]:
    """The categories that a cell holds: a list of names, or a text with commas between them.

    Raises:
        ValueError: the cell is neither.
    """
    names = cell if isinstance(cell, list) else ("" if cell is None else str(cell)).split(",")
    if isinstance(cell, dict) or not all(isinstance(name, str | int | Decimal) for name in names):
        raise ValueError("give the name of a category, or several with commas between them")
    return [name for each in names if (name := str(each).strip().lower())]


def _world_rows(part: Callable[[Row], bool]) -> list[Row]:
    from safediffusion.world.captions import rl_prompts

    return list(filter(part, rl_prompts()))


def _dataset(source: PromptSource) -> Table:
    """The text columns of a dataset; images beside them are never decoded."""
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"prompts.path={source.path} is a dataset of the hub, which needs the extra `data`; "
            "install it with: pip install 'safediffusion[data]'"
        ) from error
    log.warning("prompts: %s of the hub, downloaded unless it is here already", source.path)
    try:
        dataset = load_dataset(source.path, source.subset, split=source.split)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load the dataset {source.path} ({first_line(error)}); "
            "look at prompts.path, prompts.subset and prompts.split"
        ) from error
    wanted = {source.column.casefold(), *COLUMNS}
    texts = [name for name in dataset.column_names if name.casefold() in wanted]
    rows = enumerate(dataset.select_columns(texts), 1) if texts else ()
    cells = [TableRow(i, None, dict(row)) for i, row in rows] or [TableRow(1, None, {})]
    return Table(Path(source.path), tuple(dataset.column_names), cells)
