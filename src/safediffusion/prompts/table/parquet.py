"""Parquet files, by pyarrow, which comes with the extra `data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safediffusion.errors import UserError
from safediffusion.prompts.table.cells import Table, TableRow
from safediffusion.prompts.table.separated import check_names
from safediffusion.text.first_line import first_line


def read_parquet(path: Path) -> Table:
    """Cells of text, numbers, truth values and lists; images and other columns are left unread."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"{path} needs pyarrow, from the extra `data`; install it with: pip install 'safediffusion[data]'"
        ) from error
    with path.open("rb") as file:
        try:
            content = parquet.ParquetFile(file)
            names = content.schema_arrow.names
            check_names(path, names)
            wanted = [field.name for field in content.schema_arrow if _is_plain(field.type)]
            rows = content.read(columns=wanted).to_pylist()
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a valid parquet file: {first_line(error)}") from error
    return Table(path, tuple(names), [TableRow(i, None, cells) for i, cells in enumerate(rows, 1)])


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type)
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return any(
        check(kind)
        for check in (
            types.is_string,
            types.is_large_string,
            types.is_integer,
            types.is_floating,
            types.is_decimal,
            types.is_boolean,
            types.is_null,
        )
    )
