"""Reads the header of a safetensors file: the tensors' names, and whether the file is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safediffusion.errors import UserError

LFS = b"version https://git-lfs"  # begins the file that a clone without Git LFS has instead
LONGEST = 100_000_000  # bytes of a header, the format's own limit


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, by tensor.

    Raises:
        ValueError: it is not one.
        EOFError: it ends within its header.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST:
            raise ValueError("it has no header of a safetensors file")
        if length + 8 > path.stat().st_size:
            raise EOFError("it ends within its header")
        found = json.loads(file.read(length))
    if not isinstance(found, dict):
        raise ValueError("it has no header of a safetensors file")
    return found | {"": length + 8}


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors in a safetensors file."""
    return [name for name in header(path) if name not in ("", "__metadata__")]


def check_file(path: Path) -> None:
    """Refuse an incomplete file of weights.

    Raises:
        UserError: it is empty, a pointer of Git LFS, or cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(LFS))
    if start == LFS:
        raise UserError(
            f"{path} is a pointer of Git LFS in the place of the weights; in the folder that was cloned run: "
            "git lfs pull"
        )
    if size == 0:
        raise UserError(f"{path} is empty: the download did not finish; get this file again")
    if path.suffix != ".safetensors":
        return
    try:
        about = header(path)
        ends = [about[name]["data_offsets"][1] for name in about if name not in ("", "__metadata__")]
        wanted = about[""] + max(ends, default=0)
    except EOFError:
        wanted = size + 1  # how much more nobody knows
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise UserError(f"{path} is damaged or is not a safetensors file; get this file again") from error
    if size < wanted:
        raise UserError(
            f"{path} ends after {size:,} bytes and says that it has more: the download did not finish; get "
            "this file again"
        )
