"""Raw records on disk: JSON lines for what people read, safetensors beside them for features.

While an evaluation runs, every batch is a part of its own, written whole or not at all: a killed run goes
on after its last part, and several processes share the parts of one evaluation.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..runs import read_jsonl, write_tensors, write_text
from .measures import Record

ROWS = ".rows"  # which records a tensor's rows belong to


def write_records(folder: Path, records: Sequence[Record], name: str = "records") -> None:
    """NAME.jsonl, and NAME.safetensors where records hold tensors; whole or not at all."""
    tensors = _tensors(records)
    if tensors:
        write_tensors(folder / f"{name}.safetensors", tensors)
    plain = ({k: v for k, v in r.items() if not isinstance(v, Tensor)} for r in records)
    write_text(folder / f"{name}.jsonl", "".join(json.dumps(r) + "\n" for r in plain))


def read_records(folder: Path, name: str = "records") -> list[Record]:
    """The records with their tensors back in place."""
    records = read_jsonl(folder / f"{name}.jsonl")
    features = folder / f"{name}.safetensors"
    tensors = load_file(features) if features.exists() else {}
    for key, values in tensors.items():
        if not key.endswith(ROWS):
            for row, value in zip(tensors[key + ROWS].tolist(), values, strict=True):
                records[row][key] = value
    return records


def _tensors(records: Sequence[Record]) -> dict[str, Tensor]:
    keys = {k for r in records for k, v in r.items() if isinstance(v, Tensor)}
    stacked: dict[str, Tensor] = {}
    for key in sorted(keys):
        rows = [i for i, r in enumerate(records) if key in r]
        stacked[key] = torch.stack([records[i][key] for i in rows])
        stacked[key + ROWS] = torch.tensor(rows)
    return stacked


class Parts:
    """The batches of one evaluation that are done.

    Args:
        folder: the task's.
        key: what the records depend on; parts of other settings are never mixed in.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.task, self.folder = folder, folder / f"parts-{key[:16]}"

    def __contains__(self, start: int) -> bool:
        return (self.folder / f"{start:07d}.jsonl").exists()

    def write(self, start: int, records: Sequence[Record]) -> None:
        """Keep the records of the batch that begins at row `start`."""
        write_records(self.folder, records, f"{start:07d}")

    def merge(self) -> list[Record]:
        """All parts as the task's records; the parts are removed."""
        names = sorted(path.stem for path in self.folder.glob("*.jsonl"))
        records = [record for name in names for record in read_records(self.folder, name)]
        write_records(self.task, records)
        shutil.rmtree(self.folder, ignore_errors=True)
        return records
