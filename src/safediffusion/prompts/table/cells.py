"""Rows and cells of a table, and what a cell may be: one text, or a whole number."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

from safediffusion.errors import UserError

NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")
HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")
LISTED = re.compile(r"""\s*[\[{]\s*(?:['"]|\[|\{)""")  # how Python writes a list or dict of texts
WHOLE = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
EXACT = 2**53  # a float can stand for other whole numbers from here on


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table.

    Attributes:
        number: its place among the rows, from 1; the header is none.
        line: of the file where it begins, from 1; None where a file has no lines.
        cells: by column. Text, number, bool, None, list or dict, as the format has them.
    """

    number: int
    line: int | None
    cells: dict[str, Any]

    @property
    def where(self) -> str:
        """For messages: row 2, line 3."""
        return f"row {self.number}" + (f", line {self.line}" if self.line else "")


@dataclass(frozen=True)
class Table:
    """Rows and the names of all columns, those of images too, whose cells are not read."""

    path: Path
    columns: tuple[str, ...]
    rows: list[TableRow]


def text_of(cells: Mapping[str, Any], column: str, where: str) -> str:
    """The text in a cell, as it stands there.

    Raises:
        UserError: it is missing, or holds no text, or several.
    """
    if column not in cells:
        raise UserError(f"{where} has no `{column}`; add it or delete the row")
    cell = cells[column]
    if isinstance(cell, str) and not _is_list(cell):
        if HALF_CHARACTER.search(cell) or NOT_TEXT.search(cell):
            raise UserError(f"{where}: `{column}` holds a character that is not text; write it again")
        return cell
    if isinstance(cell, list | tuple | dict | str):
        raise UserError(
            f"{where}: `{column}` holds several texts; "
            "write one of them in each row, or name a column of single texts"
        )
    shown = "empty (null)" if cell is None else f"{cell!r}, which is not text"
    raise UserError(f"{where}: `{column}` is {shown}; write text there or delete the row")


def whole_number(cell: object, limit: int) -> int:
    """The whole number in a cell, exactly, from 0 to limit - 1; 12.0 and 1e3 are whole.

    Raises:
        ValueError: the cell holds something else.
    """
    text = str(cell).strip()
    try:
        if isinstance(cell, bool) or not WHOLE.fullmatch(text):
            raise ValueError
        value = Decimal(text)
        if not 0 <= value < limit or value != value.to_integral_value():
            raise ValueError
    except (ValueError, InvalidOperation) as error:
        raise ValueError(f"give a whole number from 0 to {limit - 1}") from error
    if isinstance(cell, float) and abs(cell) > EXACT:
        raise ValueError(
            "it was stored as a float, which cannot hold it exactly; store it as an integer or text"
        )
    return int(value)


def _is_list(cell: str) -> bool:
    """Whether a text is what Python or JSON writes for a list or dict of texts."""
    if not LISTED.match(cell):
        return False
    try:
        return isinstance(ast.literal_eval(cell.strip()), list | dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def refuse(path: Path, row: TableRow | None, why: str) -> NoReturn:
    """Refuse a file for what is wrong in a row, or in all of it."""
    raise UserError(f"{path}, {row.where}: {why}" if row else f"{path}: {why}")
