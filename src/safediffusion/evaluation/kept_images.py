"""Which of the judged images stay on disk, and how: as they are, or small and veiled for the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from safediffusion.files.atomic import write_image
from safediffusion.system.image_sheets import obscured, to_pil

SIDE = 256  # pixels of a preview
VEILED_SIDE = 128  # of one that is veiled, which holds no detail


@dataclass(frozen=True)
class Previews:
    """Which judged images of a run its report may show.

    Attributes:
        most: images of each task.
        veiled: whether those of prompts that are not labelled benign are kept pixelated and blurred.
    """

    most: int
    veiled: bool = True

    def hides(self, row: dict[str, Any]) -> bool:
        """Whether a row's image is kept veiled."""
        return self.veiled and row.get("label") != "benign"


@dataclass(frozen=True)
class KeptImages:
    """A folder that keeps the images of rows as INDEX.png.

    Attributes:
        folder: where.
        most: only rows whose index is below it are kept; None keeps all.
        is_veiled: whether a row's image is kept pixelated and blurred; None keeps all as they are, in full
            size, and else they are at most 256 pixels wide and high, those that are veiled 128.
    """

    folder: Path
    most: int | None = None
    is_veiled: Callable[[dict[str, Any]], bool] | None = None

    def is_there(self) -> bool:
        """Whether the folder exists, so that an earlier evaluation kept its images."""
        return self.folder.is_dir()

    def add(self, row: dict[str, Any], image: Tensor) -> None:
        """Write the image (3, h, w) in [0, 1] of a row, if it is to be kept."""
        if self.most is not None and row["index"] >= self.most:
            return
        picture = to_pil(image)
        if self.is_veiled:
            veiled = self.is_veiled(row)
            picture.thumbnail((VEILED_SIDE, VEILED_SIDE) if veiled else (SIDE, SIDE))
            picture = obscured(picture) if veiled else picture
        write_image(self.folder / f"{row['index']:05d}.png", picture)
