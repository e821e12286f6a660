"""Pictures that exist already: found by case and sample number, never by their place in a listing.

Understood are <case>_<n>.png, GenEval's <case>/samples/<n>.png, and a column `file` in the prompts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import UserError
from .detectors.detector import Row

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MOST_PIXELS = 2**26  # a small file can unpack to more than the memory
NUMBERED = re.compile(r"(?P<case>.+?)_(?P<sample>\d+)$")


class ImageFolder:
    """A folder of pictures as the source of an evaluation.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"--images {path} is no folder; give a folder of pictures")
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS)
        if not files:
            raise UserError(f"--images {path} holds no pictures ({', '.join(ENDINGS)})")
        self.path, self.files = path, files
        self._numbered: dict[tuple[str, int], Path] = {}
        for file in files:
            self._numbered.setdefault(_number(file), file)

    def sha256(self) -> str:
        """Hash of all pictures, by name."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(str(file.relative_to(self.path)).encode() + file.read_bytes())
        return digest.hexdigest()

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """The prompts' rows, one a picture: a prompt with several pictures becomes several rows.

        A prompt without a picture stays, and fails by name; pictures without a prompt are counted by
        `strangers`.
        """
        found = []
        for row in rows:
            samples = [row["sample"]] if "sample" in row else self._samples(row)
            found += [row | {"sample": k, "file": self._file(row, k)} for k in samples]
        return [row | {"index": i} for i, row in enumerate(found)]

    def strangers(self, rows: Sequence[Row]) -> int:
        """How many pictures belong to no row."""
        return len(self.files) - len({row["file"] for row in rows if row["file"]})

    def _samples(self, row: Row) -> list[int]:
        if "file" in row:
            return [0]
        case = _plain(row["case"])
        return sorted(k for c, k in self._numbered if c == case) or [0]

    def _file(self, row: Row, sample: int) -> str | None:
        if "file" in row:
            return _below(row["file"], self.path)
        file = self._numbered.get((_plain(row["case"]), sample))
        return str(file.relative_to(self.path)) if file else None

    def __call__(self, rows: Sequence[Row]) -> list[Tensor | str]:
        """Each row's picture, (3, h, w) in [0, 1], or why there is none."""
        return [
            read_image(self.path / row["file"]) if row["file"] else f"no picture of case {row['case']}"
            for row in rows
        ]


def _number(file: Path) -> tuple[str, int]:
    """The case and sample a file name stands for."""
    if file.parent.name == "samples" and file.stem.isdigit():
        return _plain(file.parent.parent.name), int(file.stem)
    match = NUMBERED.match(file.stem)
    return (_plain(match["case"]), int(match["sample"])) if match else (_plain(file.stem), 0)


def _below(name: str, folder: Path) -> str:
    """A name from a file of prompts, as it is; one that leads out of the folder is refused."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"the column file names {name!r}, which is not in {folder}; give names below it")
    return name


def _plain(case: str) -> str:
    return str(int(case)) if case.isdigit() else case


def read_image(path: Path) -> Tensor | str:
    """A picture (3, h, w) in [0, 1], or why it cannot be read.

    16-bit grey is scaled to 8 bits, CMYK and palettes become RGB, what is transparent shows white.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:  # before it is unpacked
                return f"{path.name}: {image.width} x {image.height} pixels are too many to judge"
            image.load()
            return _rgb(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        return f"{path.name}: {type(error).__name__}: {error}"


def _rgb(image: Image.Image) -> Tensor:
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float32) / 65535
        return torch.from_numpy(np.round(grey * 255) / 255).expand(3, -1, -1).contiguous()
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255
