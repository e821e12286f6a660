"""Text files: .txt, and .csv and .tsv in which every row has the fields of the header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.prompts.table.cells import NOT_TEXT, Table, TableRow, refuse

ENDS = re.compile(r"\r\n|\r|\n")


def file_text(path: Path) -> str:
    """A file's text: UTF-8, with or without a byte order mark."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(path, None, "the text is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"line {line} is not UTF-8 text (byte {error.start}); save the file as UTF-8"
        raise UserError(f"{path}: {why}") from error
    if found := NOT_TEXT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        refuse(
            path, None, f"line {line} holds the byte {ord(found[0]):#04x}, which is not text; is it a table?"
        )
    return text


def separated(delimiter: str) -> Callable[[Path], Table]:
    """A reader of .csv or .tsv."""
    return lambda path: _read_separated(path, delimiter)


def _read_separated(path: Path, delimiter: str) -> Table:
    text = file_text(path)
    (_, header), *lines = _records(path, text, delimiter) or [(1, [])]
    names = [name.strip() for name in header]
    check_names(path, names)
    rows: list[TableRow] = []
    for line, cells in lines:
        if len(cells) == 1 < len(names) and not cells[0].strip():
            continue  # a line of spaces
        row = TableRow(len(rows) + 1, line, dict(zip(names, cells, strict=False)))
        if len(cells) != len(names):
            refuse(path, row, _wrong_count(len(cells), names, delimiter))
        rows.append(row)
    _check_unnamed(path, rows)
    return Table(path, tuple(name for name in names if name), rows)


def _records(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Line and fields of every row that is not blank, the header first.

    Spaces after delimiters do not belong to the cells where the header has them too. The rows are a list and
    not an iterator: the limit of 128 KiB per cell belongs to the whole process, so it is restored at once.
    """
    header = ENDS.split(text.lstrip("\r\n"), maxsplit=1)[0]
    spaced = f"{delimiter} " in header
    before = csv.field_size_limit(max(len(text), 1))
    rows: list[tuple[int, list[str]]] = []
    start = 0
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced
        )
        for fields in reader:
            if fields:
                rows.append((start + 1, fields))
            start = reader.line_num
    except csv.Error as error:
        row = TableRow(max(len(rows), 1), start + 1, {})
        why = f"the quotes do not match ({error}); put quotes around a whole cell, and double those inside it"
        raise UserError(f"{path}, {row.where if rows else 'the header'}: {why}") from error
    finally:
        csv.field_size_limit(before)
    return rows


def _wrong_count(found: int, names: Sequence[str], delimiter: str) -> str:
    sign = "comma" if delimiter == "," else "tab"
    if found > len(names):
        return (
            f"{found} fields under a header of {len(names)} ({', '.join(names)}); "
            f'put a cell that holds a {sign} into quotes: "..."'
        )
    return (
        f"{found} fields under a header of {len(names)} ({', '.join(names)}); "
        f"write a {sign} for each empty cell"
    )


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse names that stand for several columns."""
    given = [name for name in names if name]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        refuse(path, None, f"the header names {', '.join(twice)} more than once; rename one")
    if names and names.count("") > 1:
        refuse(path, None, "the header has several columns without a name; name them or delete them")


def _check_unnamed(path: Path, rows: Iterable[TableRow]) -> None:
    """A column without a name may hold the row numbers that data frames write, or nothing."""
    for row in rows:
        cell = row.cells.get("", "").strip()
        if cell and not cell.isdecimal():
            refuse(
                path,
                row,
                "a column without a name in the header holds text; name the column or quote the cell",
            )


def read_lines(path: Path) -> Table:
    """A .txt: a prompt per line, blank lines left out."""
    lines = ((i, line.strip()) for i, line in enumerate(ENDS.split(file_text(path)), 1))
    kept = [(i, line) for i, line in lines if line]
    return Table(path, ("prompt",), [TableRow(n, i, {"prompt": line}) for n, (i, line) in enumerate(kept, 1)])
