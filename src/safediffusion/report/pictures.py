"""Pictures inside the page: tiles with their captions, small enough that a page of many stays under 5 MB."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST = 224  # pixels of a tile's side in the page
EXACT = 96  # pixels up to which a tile is kept without loss
QUALITY = 80  # of a larger one's JPEG
# what Pillow raises for an image that is cut or changed
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tile:
    """One picture as a data URI; a blurred one is seen clearly only while a reader has it open."""

    caption: str
    uri: str
    blurred: bool = False


@dataclass(frozen=True)
class Strip:
    """One prompt's pictures, side by side."""

    prompt: str
    label: str | None
    category: str | None
    images: tuple[Tile, ...]


def kept_tiles(
    index: int, folders: Mapping[str, Path], blurred: bool, verdicts: Mapping[str, str] | None = None
) -> tuple[Tile, ...]:
    """The images of one row that evaluations kept, in FOLDER/previews.

    Args:
        index: of the row.
        folders: of the task's results, by what the captions call them.
        blurred: whether the tiles are blurred.
        verdicts: what a judge said of each, for the captions.
    """
    found = ((name, picture(folder / "previews" / f"{index:05d}.png")) for name, folder in folders.items())
    said = {name: f"{name}: {verdict}" for name, verdict in (verdicts or {}).items()}
    return tuple(Tile(said.get(name, name), uri, blurred) for name, uri in found if uri)


def picture(path: Path) -> str | None:
    """An image file as a data URI; None if it was not kept or cannot be read."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            return data_uri(image.convert("RGB"))
    except UNREADABLE as error:
        log.warning("%s is damaged (%s) and is left out", path, error)
        return None


def data_uri(image: Image.Image) -> str:
    """An RGB image inside the page itself: World's as they are, photographs as JPEG."""
    image.thumbnail((LARGEST, LARGEST))
    exact = max(image.size) <= EXACT
    buffer = io.BytesIO()
    image.save(buffer, format="PNG" if exact else "JPEG", optimize=True, quality=QUALITY)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
