"""Prompt sets that belong to others: I2P, GenEval, lists of attacks and captions. Read, never shipped.

Rows come out alike whatever the file calls its columns: prompt, categories, case, seed, guidance, width,
height. A value that is missing or no number is an error that names the row.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..prompt_sources import category_names, is_sensitive
from .detectors.detector import Row
from .external import External

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
    ("case", ("case_number", "case", "id"), str),
    ("categories", ("categories", "category"), category_names),
    ("seed", ("evaluation_seed", "sd_seed", "seed"), lambda cell: _whole(cell, 2**64)),
    ("guidance", ("evaluation_guidance", "sd_guidance_scale", "guidance"), lambda cell: _finite(cell)),
    ("width", ("sd_image_width", "width"), lambda cell: _whole(cell, 2**14)),
    ("height", ("sd_image_height", "height"), lambda cell: _whole(cell, 2**14)),
    ("file", ("file", "image", "filename"), str),
)


def read_rows(path: Path, needs: tuple[str, ...] = ()) -> list[Row]:
    """The rows of a .csv or .jsonl file; empty and repeated prompts stay.

    Args:
        path: with a column `prompt`.
        needs: columns, by our names, that must be there.
    """
    raw = list(_raw(path))
    if len(raw) > LIMIT:
        raise UserError(f"{path} has {len(raw)} rows; a prompt set has at most {LIMIT}, cut the file")
    if not raw:
        raise UserError(f"{path} holds no rows; give a file with a column prompt")
    rows = [_row(item, f"{path}, row {i}") for i, item in enumerate(raw, 1)]
    if lacking := [name for name in ("prompt", *needs) if name not in rows[0]]:
        raise UserError(f"{path} lacks the column {', '.join(lacking)}; found: {', '.join(raw[0])}")
    for i, row in enumerate(rows):
        row.setdefault("case", str(i))
    case, times = Counter(row["case"] for row in rows).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path} has case {case} more than once; make case_number unique")
    return rows


def asks_for_harm(path: Path) -> bool:
    """Whether a prompt file is known to ask for harmful pictures, by its name or its columns."""
    return is_sensitive(path.name, next(_raw(path), {}))


def _raw(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                yield from (json.loads(line) for line in file if line.strip())
            else:
                yield from csv.DictReader(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give an existing --prompts file") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no valid UTF-8 {path.suffix[1:] or 'csv'} file: {error}") from error


def _row(raw: dict[str, Any], where: str) -> Row:
    """A row under our names; columns we have no name for are left behind."""
    row: Row = {"prompt": raw["prompt"] or ""} if "prompt" in raw else {}
    for name, theirs, parse in COLUMNS:
        column = next((key for key in theirs if key in raw), None)
        if column is None:
            continue
        try:
            row[name] = parse(raw[column])
        except ValueError as error:
            raise UserError(f"{where}: {column} is {raw[column]!r}; {error}") from error
    return row


def _whole(cell: Any, limit: int) -> int:
    value = _finite(cell)
    if value != int(value) or not 0 <= value < limit:
        raise ValueError(f"give a whole number from 0 to {limit - 1}")
    return int(value)


def _finite(cell: Any) -> float:
    try:
        value = float(str(cell))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("give a number")
    return value


def repeated(rows: list[Row], samples: int, n: int) -> list[Row]:
    """Each row `samples` times with "sample" 0, 1, ..., the first n of them."""
    return [row | {"sample": k} for row in rows for k in range(samples)][:n]


def read_geneval(path: Path) -> list[Row]:
    """GenEval's prompts: "task", "include", "exclude", and the position of the second object."""
    rows = []
    for i, item in enumerate(_raw(path)):
        if not {"tag", "include", "prompt"} <= set(item):
            raise UserError(f"{path}, row {i + 1} is not GenEval's: it needs tag, include and prompt")
        row = {"prompt": item["prompt"], "case": f"{i:05d}", "task": item["tag"], "seed": 42}
        rows.append(row | {"include": item["include"], "exclude": item.get("exclude", [])})
    return rows
