"""Tables of prompts in files, read strictly: every word that a file holds is read, or the file is refused.

One reader for training and evaluation. A row is refused by its number, with what is wrong and the mend. What
the columns mean is left to the callers; text_of and whole_number say what a cell may be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.prompts.table.cells import Table, TableRow, text_of, whole_number
from safediffusion.prompts.table.objects import read_json, read_jsonl
from safediffusion.prompts.table.parquet import read_parquet
from safediffusion.prompts.table.separated import read_lines, separated

__all__ = ["FORMATS", "Table", "TableRow", "expanded", "is_table", "read_table", "text_of", "whole_number"]

READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": separated(","),
    ".tsv": separated("\t"),
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".txt": read_lines,
    ".parquet": read_parquet,
}
FORMATS = ", ".join(READERS)


def expanded(path: str | Path) -> Path:
    """A path with ~ as the home folder, where there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return Path(path)


def is_table(path: str | Path) -> bool:
    """Whether a path ends like a table, in any case."""
    return Path(path).suffix.lower() in READERS


def read_table(path: str | Path) -> Table:
    """The table in a file.

    Args:
        path: .csv, .tsv, .jsonl, .json, .txt or .parquet, in any case; ~ is the home folder.

    Raises:
        UserError: the file cannot be read, is not what its name says, or has a row that is not whole.
    """
    file = expanded(path)
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise UserError(f"{path} is not a table; give one of {FORMATS}")
    try:
        return reader(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot read {path}: {reason}; give an existing file") from error
