"""Raw records on disk: JSON lines for plain values, safetensors for features.

While an evaluation runs, each finished batch is stored in files of its own, written whole or not at all. A
killed evaluation continues after its last finished batch, and several processes share the batches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from safediffusion.errors import Damaged
from safediffusion.evaluation.measures import Record
from safediffusion.files.atomic import nulled, write_tensors, write_text
from safediffusion.files.checked import is_whole, read_tensors, understood, write_checked
from safediffusion.files.contents import Record as RecordShape
from safediffusion.files.json_lines import read_jsonl
from safediffusion.files.leftovers import remove

ROWS = ".rows"  # which records a tensor's rows belong to


def write_records(folder: Path, records: Sequence[Record], name: str = "records") -> None:
    """NAME.jsonl, and NAME.safetensors where records hold tensors; each file whole or not at all."""
    rows, features = folder / f"{name}.jsonl", folder / f"{name}.safetensors"
    if tensors := _tensors(records):
        write_tensors(features, tensors)
    else:
        remove(features)  # of earlier records
    plain = ({k: v for k, v in r.items() if not isinstance(v, Tensor)} for r in records)
    write_text(rows, "".join(json.dumps(nulled(r)) + "\n" for r in plain))


def record_files(folder: Path, name: str = "records") -> list[Path]:
    """The files that `write_records` wrote and that exist."""
    return [path for end in ("jsonl", "safetensors") if (path := folder / f"{name}.{end}").exists()]


def read_records(folder: Path, name: str = "records") -> list[Record]:
    """The records with their tensors back in place.

    Raises:
        Damaged: a file cannot be read, or the two files do not match.
    """
    rows = folder / f"{name}.jsonl"
    if not rows.exists():
        raise Damaged(rows, "it is missing")
    records = read_jsonl(rows, RecordShape)
    features = folder / f"{name}.safetensors"
    tensors = read_tensors(features) if features.exists() else {}
    with understood(features):
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


class FinishedBatches:
    """The finished batches of one evaluation.

    Args:
        folder: of the task.
        key: the fingerprint; batches with another fingerprint are never mixed in.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.task, self.key, self.folder = folder, key, folder / f"parts-{key[:16]}"

    def begin(self) -> None:
        """Delete the batches of other settings."""
        for other in self.task.glob("parts-*"):
            if other != self.folder:
                remove(other)

    def __contains__(self, start: int) -> bool:
        return is_whole(self.folder / f"{start:07d}.json")

    def write(self, start: int, records: Sequence[Record]) -> None:
        """Store the batch that begins at row `start`; the file written last marks it as whole."""
        name = f"{start:07d}"
        write_records(self.folder, records, name)
        write_checked(
            self.folder / f"{name}.json", {"records": len(records)}, record_files(self.folder, name)
        )

    def merge(self) -> list[Record]:
        """Write all batches as the task's records and return them."""
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        records = [record for name in names for record in read_records(self.folder, name)]
        write_records(self.task, records)
        return records


def remove_parts(folder: Path) -> None:
    """Delete the batches of a task whose results are written."""
    for parts in folder.glob("parts-*"):
        remove(parts)
