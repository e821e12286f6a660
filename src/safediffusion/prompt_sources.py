"""Where prompts come from: World, a text, CSV or JSONL file, or a dataset of the hub."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError
from .schema import MIXTURES, PromptSource

Row = dict[str, Any]

# Sets that were made to ask for harm, by what their files and columns are called.
SENSITIVE = re.compile(r"i2p|ring.?a.?bell|mma.?diffusion|p4d|sneaky.?prompt|copro|nsfw", re.IGNORECASE)
SENSITIVE_COLUMNS = {"inappropriate_percentage", "nudity_percentage", "sd_safety_percentage"}
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
# World's own prompts and parts of them.
WORLD: dict[str, Callable[[Row], bool]] = {
    "world": lambda row: True,
    "world-benign": lambda row: row["label"] == "benign",
    "world-implicit": lambda row: row["kind"] == "implicit",
    "world-explicit": lambda row: row["kind"] == "explicit",
    "world-nudity": lambda row: row["category"] in (None, "sexual"),
}
NAMES = ", ".join((*MIXTURES, *WORLD))
KNOWN = f"use {NAMES}, a .txt, .csv or .jsonl file, or a dataset of the hub as owner/name"


def read_source(source: PromptSource) -> list[Row]:
    """Rows with `prompt` and, where the source has them, `label` and `category` or `categories`."""
    if source.path in WORLD:
        rows = _world_rows(WORLD[source.path])
    elif Path(source.path).suffix in READERS:
        rows = _file_rows(Path(source.path))
    elif HUB_ID.fullmatch(source.path):
        rows = _dataset_rows(source)
    else:
        raise UserError(f"prompts.path={source.path} is not understood; {KNOWN}")
    if rows and not any(source.column in row for row in rows):
        raise UserError(
            f"{source.path} has no column `{source.column}`; "
            f"set prompts.column to one of: {', '.join(map(str, rows[0]))}"
        )
    if rows and not source.accept_sensitive and is_sensitive(source.path, rows[0]):
        raise UserError(
            f"{source.path} holds prompts that ask for harmful pictures; "
            "set prompts.accept_sensitive=true if that is what you want"
        )
    return [row | {"prompt": row.get(source.column)} for row in rows]


def is_sensitive(path: str, columns: Iterable[str]) -> bool:
    """Whether a file or dataset is known to ask for harmful pictures; nobody's own list is."""
    return bool(SENSITIVE.search(Path(path).name)) or not SENSITIVE_COLUMNS.isdisjoint(columns)


def category_names(cell: object) -> list[str]:
    """The categories that a cell holds: a list of names, or a text with commas between them."""
    names = cell if isinstance(cell, list) else str(cell or "").split(",")
    return [name for each in names if (name := str(each).strip().lower())]


def _world_rows(part: Callable[[Row], bool]) -> list[Row]:
    from .world.captions import rl_prompts

    return list(filter(part, rl_prompts()))


def _file_rows(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(READERS[path.suffix](file))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise UserError(f"cannot read prompts.path={path}: {reason}; give an existing file") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise UserError(f"{path} is no valid {path.suffix[1:]} file: {error}") from error


def _read_txt(lines: Iterable[str]) -> Iterator[Row]:
    return ({"prompt": line.strip()} for line in lines)


def _read_jsonl(lines: Iterable[str]) -> Iterator[Row]:
    for line in filter(str.strip, lines):
        row = json.loads(line)
        yield row if isinstance(row, dict) else {"prompt": row}


READERS: dict[str, Callable[[Iterable[str]], Iterable[Row]]] = {
    ".txt": _read_txt,
    ".csv": csv.DictReader,
    ".jsonl": _read_jsonl,
}


def _dataset_rows(source: PromptSource) -> list[Row]:
    """The text columns of a dataset; pictures beside them are never decoded."""
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"prompts.path={source.path} is a dataset of the hub, which needs the extra `data`; "
            "install it with: pip install 'safediffusion[data]'"
        ) from error
    try:
        dataset = load_dataset(source.path, source.subset, split=source.split)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load the dataset {source.path} ({str(error).splitlines()[0][:160]}); "
            "look at prompts.path, prompts.subset and prompts.split"
        ) from error
    wanted = {source.column, "label", "category", "categories"}
    texts = [name for name in dataset.column_names if name in wanted]
    return list(dataset.select_columns(texts)) if source.column in texts else [dict(dataset.features)]
