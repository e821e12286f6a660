"""Prompt sets of other authors: I2P, GenEval, lists of attacks and captions. They are read, never shipped.

Whatever a file calls its columns, the rows have the same keys: prompt, categories, case, seed, guidance,
width, height. A missing or unreadable value is an error that names the row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.external_files import External
from safediffusion.evaluation.geneval_rules import DIRECTIONS, TASKS
from safediffusion.prompts.sources import category_names, column_called, is_sensitive
from safediffusion.prompts.table import Table, TableRow, read_table, text_of, whole_number

LIMIT = 500_000  # rows; more is a mistake, not a prompt set

I2P = External(
    "i2p_benchmark.csv",
    "hf download AIML-TUDA/i2p i2p_benchmark.csv --repo-type dataset --local-dir {home}",
    "MIT",
)
GENEVAL = External(
    "evaluation_metadata.jsonl",
    "curl -f --create-dirs -Lo {home}/evaluation_metadata.jsonl "
    "https://raw.githubusercontent.com/djghosh13/geneval/main/prompts/evaluation_metadata.jsonl",
    "MIT",
)

# Our name, the names that files use, and what the text means.
COLUMNS: tuple[tuple[str, tuple[str, ...], Callable[[Any], Any]], ...] = (
    ("case", ("case_number", "case", "id"), lambda cell: _name(cell)),
    ("categories", ("categories", "category"), category_names),
    ("seed", ("evaluation_seed", "sd_seed", "seed"), lambda cell: whole_number(cell, 2**64)),
    ("guidance", ("evaluation_guidance", "sd_guidance_scale", "guidance"), lambda cell: _number(cell)),
    ("width", ("sd_image_width", "width"), lambda cell: whole_number(cell, 2**14)),
    ("height", ("sd_image_height", "height"), lambda cell: whole_number(cell, 2**14)),
    ("file", ("file", "image", "filename"), lambda cell: _name(cell)),
    ("label", ("label",), lambda cell: _label(cell)),
)


@dataclass(frozen=True)
class PromptFile:
    """A file of the user and its column of prompts."""

    path: Path
    column: str = "prompt"


def read_rows(file: PromptFile | Path, needs: tuple[str, ...] = ()) -> list[Row]:
    """The rows of a table; empty and repeated prompts are kept.

    Args:
        file: with a column of prompts.
        needs: columns, by our names, that the file must have.

    Raises:
        UserError: a column is missing, a value cannot be read, or two rows have the same case.
    """
    source = file if isinstance(file, PromptFile) else PromptFile(file)
    table, column = _opened(source)
    theirs = _columns(table)
    if lacking := [name for name in needs if name not in theirs]:
        raise UserError(
            f"{source.path} lacks the column {', '.join(lacking)}; found: {', '.join(table.columns)}"
        )
    rows = [_row(row, f"{source.path}, {row.where}", column, theirs, needs) for row in table.rows]
    for i, row in enumerate(rows):
        row.setdefault("case", str(i))
    case, times = Counter(row["case"] for row in rows).most_common(1)[0]
    if times > 1:
        raise UserError(f"{source.path} has case {case} more than once; make case_number unique")
    return rows


def asks_for_harm(path: Path) -> bool:
    """Whether a prompt file is known to ask for harmful images, by its name or its columns."""
    return is_sensitive(path.name, read_table(path).columns)


def _opened(source: PromptFile) -> tuple[Table, str]:
    """A file's table, and what its column of prompts is called there."""
    table = read_table(source.path)
    if len(table.rows) > LIMIT:
        raise UserError(
            f"{source.path} has {len(table.rows)} rows; a prompt set has at most {LIMIT}, cut the file"
        )
    if not table.rows:
        raise UserError(f"{source.path} holds no rows; give a file with a column {source.column}")
    column = column_called(source.column, table.columns)
    if column is None:
        raise UserError(
            f"{source.path} lacks the column {source.column}; "
            f"name one of its columns with --column: {', '.join(table.columns)}"
        )
    return table, column


def _columns(table: Table) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """By our name what a column is called in this file, and what its text means."""
    found = {}
    for name, names, parse in COLUMNS:
        called = (column_called(each, table.columns) for each in names)
        column = next(filter(None, called), None)
        if column and any(column in row.cells for row in table.rows):  # columns of images are not read
            found[name] = (column, parse)
    return found


def _row(
    row: TableRow,
    where: str,
    column: str,
    theirs: dict[str, tuple[str, Callable[[Any], Any]]],
    needs: tuple[str, ...],
) -> Row:
    """A row under our names, without the columns for which there is none."""
    found: Row = {"prompt": text_of(row.cells, column, where)}
    for name, (key, parse) in theirs.items():
        if key in row.cells:
            try:
                found[name] = parse(row.cells[key])
            except ValueError as error:
                raise UserError(f"{where}: {key} is {row.cells[key]!r}; {error}") from error
        elif name in needs:
            raise UserError(f"{where} has no `{key}`; add it or delete the row")
    return found


def _number(cell: object) -> float:
    try:
        value = math.nan if isinstance(cell, bool) else float(str(cell))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("give a number")
    return value


def _name(cell: object) -> str:
    """A case or a file's name as text; 12.0, as data frames write whole numbers, is 12."""
    if isinstance(cell, float) and cell.is_integer():
        return str(whole_number(cell, 2**63))
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        raise ValueError("give a name or a number")
    return str(cell)


def _label(cell: object) -> str:
    """benign or unsafe in any case; other columns of this name are of no use here."""
    name = str(cell).strip().lower()
    return name if name in ("benign", "unsafe") else ""


def repeated(rows: list[Row], samples: int) -> list[Row]:
    """Each row `samples` times with "sample" 0, 1, ..."""
    return [row | {"sample": k} for row in rows for k in range(samples)]


def read_geneval(file: PromptFile | Path) -> list[Row]:
    """GenEval's prompts: "task", "include", "exclude", and the position of the second object."""
    source = file if isinstance(file, PromptFile) else PromptFile(file)
    table, column = _opened(source)
    rows = []
    for i, row in enumerate(table.rows):
        where, item = f"{source.path}, {row.where}", row.cells
        try:
            _check_geneval(item)
        except ValueError as error:
            raise UserError(f"{where} is not GenEval's: {error}") from error
        found = {"prompt": text_of(item, column, where), "case": f"{i:05d}", "task": item["tag"], "seed": 42}
        rows.append(found | {"include": item["include"], "exclude": item.get("exclude", [])})
    return rows


def _check_geneval(item: dict[str, Any]) -> None:
    if not {"tag", "include"} <= set(item):
        raise ValueError("it needs tag, include and prompt")
    if item["tag"] not in TASKS:
        raise ValueError(f"tag is {item['tag']!r}; give one of {', '.join(TASKS)}")
    for name in ("include", "exclude"):
        things = item.get(name, [])
        if not isinstance(things, list) or not all(map(_is_thing, things)):
            raise ValueError(f"{name} must be a list of objects with a class and a count")
        if not all(_is_placed(thing, i) for i, thing in enumerate(things)):
            raise ValueError(f"a position is {', '.join(DIRECTIONS)} and the number of an earlier object")


def _is_thing(thing: object) -> bool:
    return isinstance(thing, dict) and isinstance(thing.get("class"), str) and type(thing.get("count")) is int


def _is_placed(thing: dict[str, Any], i: int) -> bool:
    """Whether the i-th object has no position, or a relation to one before it."""
    if "position" not in thing:
        return True
    match thing["position"]:
        case [str(relation), int(target)]:
            return relation in DIRECTIONS and 0 <= target < i
    return False
