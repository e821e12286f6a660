"""One batch: get its images, run the detectors on them, make the records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from safediffusion.evaluation.detectors import fields_of
from safediffusion.evaluation.detectors.detector import Detector, Fragment, Row
from safediffusion.evaluation.failures import LOOKED_AT, examine, image_error
from safediffusion.evaluation.kept_images import KeptImages
from safediffusion.evaluation.measures import Record
from safediffusion.evaluation.sources.source import Image
from safediffusion.files.image_files import read_image

Images = Callable[[Sequence[Row]], Sequence[Image]]


class Examiner:
    """Makes one record per row: the output of all detectors, or an error.

    Args:
        detectors: by name.
        images: returns one image per row, or why there is none.
        keep: where images stay, in one form or several.
    """

    def __init__(
        self, detectors: Mapping[str, Detector], images: Images, keep: Sequence[KeptImages] = ()
    ) -> None:
        self.detectors, self.images, self.keep = detectors, images, keep

    def __call__(self, rows: Sequence[Row]) -> list[Record]:
        """One record per row: the row, the image's hash and each detector's fragment; or the error."""
        own = [row for row in rows if not row.get("reference")]
        real = [row for row in rows if row.get("reference")]
        images = [*self.images(own)] if own else []
        images += [read_image(Path(row["path"]), upright=False) for row in real]
        rows = [*own, *real]
        errors = [image_error(p, blank="reference" not in row) for row, p in zip(rows, images, strict=True)]
        good = [
            (row, image)
            for row, image, error in zip(rows, images, errors, strict=True)
            if isinstance(image, Tensor) and error is None
        ]
        seen = iter(self.fragments([image for _, image in good], [row for row, _ in good]))
        return [
            row | (next(seen) if error is None else {"error": error})
            for row, error in zip(rows, errors, strict=True)
        ]

    def fragments(self, images: list[Tensor], rows: list[Row]) -> list[Fragment]:
        """Per image its hash and all detectors' fragments, or the error of the first detector that failed."""
        merged: list[Fragment] = [{LOOKED_AT: digest(image)} for image in images]
        for name, detector in self.detectors.items():
            left = [i for i, fragment in enumerate(merged) if "error" not in fragment]
            if left:
                part, about = [images[i] for i in left], [rows[i] for i in left]
                for i, found in zip(left, examine(name, detector, part, about, fields_of(name)), strict=True):
                    merged[i] |= found
        for kept in self.keep:
            for row, image in zip(rows, images, strict=True):
                kept.add(row, image)
        return merged

    def describe(self) -> list[Any]:
        """What results note about the detectors."""
        return [detector.describe() for detector in self.detectors.values()]


def digest(image: Tensor) -> str:
    """SHA-256 of an image's 8-bit pixels."""
    return hashlib.sha256((image * 255).round().byte().contiguous().cpu().numpy().tobytes()).hexdigest()
