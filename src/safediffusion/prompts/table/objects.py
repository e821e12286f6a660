"""JSON: a list of objects or texts, an object of columns, or an object or a text per line."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from safediffusion.errors import UserError
from safediffusion.prompts.table.cells import Table, TableRow, refuse
from safediffusion.prompts.table.separated import ENDS, file_text


def read_jsonl(path: Path) -> Table:
    """An object or a text per line."""
    rows: list[TableRow] = []
    for line, text in enumerate(ENDS.split(file_text(path)), 1):
        if text.strip():
            row = TableRow(len(rows) + 1, line, {})
            rows.append(TableRow(row.number, line, _cells(path, row, _parse(path, row, text))))
    return _of_objects(path, rows)


def read_json(path: Path) -> Table:
    """A list of objects or texts, or an object of columns."""
    content = _parse(path, None, file_text(path))
    if isinstance(content, dict):
        content = _transposed(path, content)
    if not isinstance(content, list):
        refuse(path, None, "give a list of objects, a list of texts, or {column: [cells]}")
    rows = [TableRow(i, None, {}) for i in range(1, len(content) + 1)]
    pairs = zip(rows, content, strict=True)
    return _of_objects(path, [TableRow(row.number, None, _cells(path, row, item)) for row, item in pairs])


def _transposed(path: Path, columns: dict[str, Any]) -> list[dict[str, Any]]:
    if not all(isinstance(cells, list) for cells in columns.values()):
        refuse(
            path, None, "an object of columns must hold lists; give {column: [cells]} or a list of objects"
        )
    if len({len(cells) for cells in columns.values()}) > 1:
        refuse(path, None, "the columns are of different lengths; each row needs a cell in every column")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _cells(path: Path, row: TableRow, item: Any) -> dict[str, Any]:
    if isinstance(item, dict):
        return item
    if isinstance(item, str):
        return {"prompt": item}
    refuse(path, row, f'{type(item).__name__} is not a row; write an object such as {{"prompt": "..."}}')


def _of_objects(path: Path, rows: list[TableRow]) -> Table:
    return Table(path, tuple(dict.fromkeys(name for row in rows for name in row.cells)), rows)


def _parse(path: Path, row: TableRow | None, text: str) -> Any:
    """JSON with every key once, and numbers as they are written."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_float=Decimal, parse_constant=_no_number)
    except RecursionError as error:
        raise UserError(
            f"{_at(path, row)} is nested too deeply; a row holds columns, not further tables"
        ) from error
    except ValueError as error:
        raise UserError(f"{_at(path, row)} is not valid JSON: {error}{_hint(row, error)}") from error
    return found


def _hint(row: TableRow | None, error: ValueError) -> str:
    lines = row is None and "Extra data" in str(error)
    return "; a file with an object per line is a .jsonl, rename it" if lines else ""


def _at(path: Path, row: TableRow | None) -> str:
    return f"{path}, {row.where}" if row else str(path)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(name for name in names if names.count(name) > 1)!r} stands twice in an object"
        )
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number; leave the cell out or write null")
