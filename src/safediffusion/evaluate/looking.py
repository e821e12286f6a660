"""One batch: get its pictures, let the detectors look at them, make the records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..pictures import to_pil
from ..runs import write_image
from .detectors import Bench
from .detectors.detector import Fragment, Row
from .folder import read_image
from .measures import Record
from .memory import halving
from .tasks import Task

Picture = Tensor | str  # a picture, or why there is none
Source = Callable[[Sequence[Row]], Sequence[Picture]]


class Look:
    """Rows in, records out.

    Args:
        task: whose detectors look.
        bench: where the detectors are.
        source: of the pictures.
        keep: folder for the pictures; None keeps none.
    """

    def __init__(self, task: Task, bench: Bench, source: Source, keep: Path | None = None) -> None:
        self.source, self.keep = source, keep
        self.detectors = bench.find(task.detectors)

    def __call__(self, rows: Sequence[Row]) -> list[Record]:
        """A record a row: the row, the picture's hash, and what each detector saw; or the error."""
        own = [row for row in rows if not row.get("reference")]
        real = [row for row in rows if row.get("reference")]
        pictures = [*self.source(own)] if own else []
        pictures += [read_image(Path(row["path"])) for row in real]
        rows = [*own, *real]
        good = [(row, p) for row, p in zip(rows, pictures, strict=True) if isinstance(p, Tensor)]
        seen = iter(self.fragments([p for _, p in good], [row for row, _ in good]))
        return [
            row | ({"error": p} if isinstance(p, str) else {"image_sha256": digest(p)} | next(seen))
            for row, p in zip(rows, pictures, strict=True)
        ]

    def fragments(self, pictures: list[Tensor], rows: list[Row]) -> list[Fragment]:
        """All detectors' fragments, one a picture."""
        merged: list[Fragment] = [{} for _ in pictures]
        for detector in self.detectors if pictures else []:
            found = halving(
                lambda part, d=detector: d(*zip(*part, strict=True)), [*zip(pictures, rows, strict=True)]
            )
            for fragment, more in zip(merged, found, strict=True):
                fragment.update(more)
        if self.keep:
            for row, picture in zip(rows, pictures, strict=True):
                write_image(self.keep / f"{row['index']:05d}.png", to_pil(picture))
        return merged

    def describe(self) -> list[Any]:
        """The detectors that look."""
        return [detector.describe() for detector in self.detectors]


def digest(picture: Tensor) -> str:
    """SHA-256 of a picture's 8-bit pixels."""
    return hashlib.sha256((picture * 255).round().byte().contiguous().cpu().numpy().tobytes()).hexdigest()
