"""The run's sample sheets, cut into tiles: the same prompt and seed, round after round."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

from PIL import Image

from safediffusion.files.checked import read_optional
from safediffusion.files.contents import Samples
from safediffusion.report.pictures import UNREADABLE, Strip, Tile, data_uri
from safediffusion.training.sample_sheets import GAP

MOST = 4  # rounds shown side by side
SHEET = re.compile(r"step_(\d+)\.png")

log = logging.getLogger(__name__)


def strips(folder: Path, pictograms: bool = False) -> list[Strip]:
    """Return every prompt of the sample sheets with its first, some later and its last image.

    Args:
        folder: of the sheets.
        pictograms: whether harm is drawn in World's pictograms, which are not blurred.
    """
    prompts: list[dict[str, Any]] = read_optional(folder / "samples.json", Samples).get("prompts", [])
    if not prompts:
        return []
    numbered = {int(match[1]): path for path in folder.iterdir() if (match := SHEET.fullmatch(path.name))}
    cut = {step: tiles(numbered[step], len(prompts)) for step in spread(sorted(numbered))}
    cut = {step: images for step, images in cut.items() if images}
    return [strip(p, {step: cut[step][i] for step in cut}, pictograms) for i, p in enumerate(prompts)]


def strip(prompt: dict[str, Any], images: dict[int, str], pictograms: bool) -> Strip:
    """One prompt's images by round."""
    blurred = not pictograms and prompt["label"] != "benign"
    names = {step: f"round {step}" if step else "before" for step in images}
    tiles = tuple(Tile(names[step], uri, blurred) for step, uri in images.items())
    return Strip(prompt["prompt"], prompt["label"], prompt["category"], tiles)


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
