"""The run's sample sheets, cut into tiles: the same prompt and seed, round after round."""

from __future__ import annotations

import base64
import io
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from safediffusion.files.checked import read_optional
from safediffusion.files.contents import Samples
from safediffusion.training.sample_sheets import GAP

MOST = 4  # rounds shown side by side
LARGEST = 256  # pixels of a tile's side in the page
SHEET = re.compile(r"step_(\d+)\.png")
# what Pillow raises for an image that is cut or changed
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Strip:
    """One prompt's images in the order of the rounds, each with its caption, as data URIs."""

    prompt: str
    label: str | None
    category: str | None
    images: tuple[tuple[str, str], ...]


def strips(folder: Path) -> list[Strip]:
    """Return every prompt of the sample sheets with its first, some later and its last image."""
    prompts: list[dict[str, Any]] = read_optional(folder / "samples.json", Samples).get("prompts", [])
    if not prompts:
        return []
    numbered = {int(match[1]): path for path in folder.iterdir() if (match := SHEET.fullmatch(path.name))}
    cut = {step: tiles(numbered[step], len(prompts)) for step in spread(sorted(numbered))}
    cut = {step: images for step, images in cut.items() if images}
    return [
        Strip(
            p["prompt"],
            p["label"],
            p["category"],
            tuple(("before" if step == 0 else f"round {step}", cut[step][i]) for step in cut),
        )
        for i, p in enumerate(prompts)
    ]


def spread(steps: list[int]) -> list[int]:
    """Choose at most MOST rounds, evenly spread, with the first and the last."""
    if len(steps) <= MOST:
        return steps
    return [steps[round(i * (len(steps) - 1) / (MOST - 1))] for i in range(MOST)]


def tiles(path: Path, n: int) -> list[str]:
    """The first n images of a square sheet as data URIs; a damaged sheet has none."""
    return [data_uri(image) for image in cut_sheet(path, n)]


def cut_sheet(path: Path, n: int) -> list[Image.Image]:
    """Cut the first n images out of a square sheet; a damaged sheet has none, which is logged."""
    try:
        with Image.open(path) as page:
            page.load()
            columns = math.ceil(math.sqrt(n))
            rows = math.ceil(n / columns)
            w, h = (page.width - GAP) // columns - GAP, (page.height - GAP) // rows - GAP
            corners = [(GAP + i % columns * (w + GAP), GAP + i // columns * (h + GAP)) for i in range(n)]
            return [page.crop((x, y, x + w, y + h)) for x, y in corners]
    except UNREADABLE as error:
        log.warning("%s is damaged (%s) and is left out", path, error)
        return []


def data_uri(image: Image.Image) -> str:
    """An image inside the page itself."""
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
