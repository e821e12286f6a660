"""Images that exist already: found by case and sample number, never by their order in a listing.

The names are <case>_<n>.png, GenEval's <case>/samples/<n>.png, or those of a column `file` of the prompts.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.sampler import Sampler
from safediffusion.evaluation.sources.source import Image, Source
from safediffusion.files.image_files import read_image

log = logging.getLogger(__name__)

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
NUMBERED = re.compile(r"(?P<case>.+?)_(?P<sample>[0-9]+)$")

Key = tuple[str, int]  # case and sample


class ImageFolder(Source):
    """A folder of images as the source of an evaluation.

    Args:
        path: the folder.
    """

    existing = True

    def __init__(self, path: str | Path) -> None:
        self.name, path = str(path), Path(path)
        if not path.is_dir():
            raise UserError(f"--images {path} is not a folder; give a folder of images")
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and f.name[0] != ".")
        if not files:
            raise UserError(f"--images {path} holds no images ({', '.join(ENDINGS)})")
        self.path, self.files = path, files
        self._numbered: dict[Key, list[Path]] = {}
        for file in files:
            self._numbered.setdefault(_number(file), []).append(file)

    def describe(self) -> dict[str, Any]:
        """The hash of the images."""
        return {"sha256": self.sha256()}

    def sha256(self) -> str:
        """Hash of all images, by name."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(str(file.relative_to(self.path)).encode("utf-8", "surrogateescape"))
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """The prompts' rows, one per image: a prompt with several images becomes several rows.

        A prompt without a case has its place, from 0, as its case. A prompt without an image keeps its row,
        which fails; `strangers` counts the images without a prompt.
        A column `file` is used if it names at least one existing image.

        Raises:
            UserError: two files or prompts have the same case and sample, or a name leads out of the folder.
        """
        rows = [{"case": str(row.get("index", i)), **row} for i, row in enumerate(rows)]
        if self._column_counts(rows):
            found = [row | {"sample": row.get("sample", 0), "file": row["file"]} for row in rows]
        else:
            found = self._by_number(rows)
        return [row | {"index": i} for i, row in enumerate(found)]

    def strangers(self, rows: Sequence[Row]) -> int:
        """How many images belong to no row."""
        used = {_same(self.path / row["file"]) for row in rows if row["file"]}
        return sum(_same(file) not in used for file in self.files)

    def fit(self, sampler: Sampler, rows: Sequence[Row]) -> tuple[Sampler, list[Row]]:
        """The sampler, which has no effect, and one row per image."""
        return sampler, self.rows(rows)

    def describe_sampler(self, sampler: Sampler) -> None:
        """None: how the images were sampled is not known."""

    def notes(self, rows: Sequence[Row]) -> dict[str, Any]:
        """How many images belong to no row."""
        return {"n_without_prompt": self.strangers(rows)}

    def images(self, rows: Sequence[Row], sampler: Sampler | None = None) -> list[Image]:
        """Each row's image, (3, h, w) in [0, 1], or why there is none."""
        return [
            read_image(self.path / row["file"]) if row["file"] else f"no image of case {row['case']}"
            for row in rows
        ]

    def _column_counts(self, rows: Sequence[Row]) -> bool:
        """Whether the prompts' column `file` names the images."""
        if not all("file" in row for row in rows):
            return False
        for row in rows:
            name = Path(row["file"])
            if name.is_absolute() or ".." in name.parts:
                raise UserError(
                    f"the column file names {row['file']!r}, which is not in {self.path}; give names below it"
                )
        if any((self.path / row["file"]).exists() for row in rows):
            return True
        log.warning(
            "no file that the prompts' column names is in %s: images are found by <case>_<n>", self.path
        )
        return False

    def _by_number(self, rows: Sequence[Row]) -> list[Row]:
        samples: dict[str, list[int]] = {}
        for case, sample in sorted(self._numbered):
            samples.setdefault(case, []).append(sample)
        found, claimed = list[Row](), dict[Key, str]()
        for row in rows:
            case = _plain(row["case"])
            for k in [row["sample"]] if "sample" in row else samples.get(case, [0]):
                if (other := claimed.setdefault((case, k), row["case"])) != row["case"]:
                    raise UserError(
                        f"cases {other} and {row['case']} are the same number; rename one of them"
                    )
                found.append(row | {"sample": k, "file": self._file((case, k))})
        return found

    def _file(self, key: Key) -> str | None:
        files = [str(file.relative_to(self.path)) for file in self._numbered.get(key, [])]
        if len(files) > 1:
            raise UserError(
                f"{self.path} has {len(files)} images of case {key[0]}, sample {key[1]}: "
                f"{', '.join(files[:3])}; keep one of them, or name it in a column file"
            )
        return files[0] if files else None


def _number(file: Path) -> Key:
    """The case and sample a file name stands for."""
    if file.parent.name == "samples" and re.fullmatch("[0-9]+", file.stem):
        return _plain(file.parent.parent.name), int(file.stem)
    match = NUMBERED.match(file.stem)
    return (_plain(match["case"]), int(match["sample"])) if match else (_plain(file.stem), 0)


def _plain(case: str) -> str:
    """A case without spaces around it or leading zeros, in Unicode's composed form."""
    name = unicodedata.normalize("NFC", case).strip()
    return name.lstrip("0") or "0" if re.fullmatch("[0-9]+", name) else name


def _same(path: Path) -> str:
    """One spelling per file, in Unicode's composed form."""
    return unicodedata.normalize("NFC", str(Path(*path.parts)))
