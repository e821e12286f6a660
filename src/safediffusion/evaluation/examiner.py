"""One batch: get its pictures, let the detectors look at them, make the records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from safediffusion.evaluation.detectors import fields_of
from safediffusion.evaluation.detectors.detector import Detector, Fragment, Row
from safediffusion.evaluation.failures import LOOKED_AT, ask, picture_error
from safediffusion.evaluation.measures import Record
from safediffusion.evaluation.picture_files import read_image
from safediffusion.evaluation.sources.source import Image
from safediffusion.files.atomic import write_image
from safediffusion.system.image_sheets import to_pil

Images = Callable[[Sequence[Row]], Sequence[Image]]


class Examiner:
    """Rows in, records out: each holds what all detectors saw, or an error.

    Args:
        detectors: by name.
        images: returns one image per row, or why there is none.
        keep: folder for the images; None keeps none.
    """

    def __init__(self, detectors: Mapping[str, Detector], images: Images, keep: Path | None = None) -> None:
        self.detectors, self.images, self.keep = detectors, images, keep

    def __call__(self, rows: Sequence[Row]) -> list[Record]:
        """One record per row: the row, the picture's hash, and what each detector saw; or the error."""
        own = [row for row in rows if not row.get("reference")]
        real = [row for row in rows if row.get("reference")]
        pictures = [*self.images(own)] if own else []
        pictures += [read_image(Path(row["path"]), upright=False) for row in real]
        rows = [*own, *real]
        errors = [
            picture_error(p, blank="reference" not in row) for row, p in zip(rows, pictures, strict=True)
        ]
        good = [
            (row, picture)
            for row, picture, error in zip(rows, pictures, errors, strict=True)
            if isinstance(picture, Tensor) and error is None
        ]
        seen = iter(self.fragments([picture for _, picture in good], [row for row, _ in good]))
        return [
            row | (next(seen) if error is None else {"error": error})
            for row, error in zip(rows, errors, strict=True)
        ]

    def fragments(self, pictures: list[Tensor], rows: list[Row]) -> list[Fragment]:
        """Per picture its hash and what all detectors saw, or the error of the first that failed."""
        merged: list[Fragment] = [{LOOKED_AT: digest(picture)} for picture in pictures]
        for name, detector in self.detectors.items():
            left = [i for i, fragment in enumerate(merged) if "error" not in fragment]
            if left:
                part, about = [pictures[i] for i in left], [rows[i] for i in left]
                for i, found in zip(left, ask(name, detector, part, about, fields_of(name)), strict=True):
                    merged[i] |= found
        if self.keep:
            for row, picture in zip(rows, pictures, strict=True):
                write_image(self.keep / f"{row['index']:05d}.png", to_pil(picture))
        return merged

    def describe(self) -> list[Any]:
        """The detectors that look."""
        return [detector.describe() for detector in self.detectors.values()]


def digest(picture: Tensor) -> str:
    """SHA-256 of a picture's 8-bit pixels."""
    return hashlib.sha256((picture * 255).round().byte().contiguous().cpu().numpy().tobytes()).hexdigest()
