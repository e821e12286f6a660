"""The run's sample sheets, cut into tiles: the same prompt and seed, step after step."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..training.pictures import GAP

MOST = 4  # steps shown side by side
LARGEST = 256  # pixels of a tile's side in the page


@dataclass(frozen=True)
class Strip:
    """One prompt's pictures in the order of the steps, as data URIs."""

    prompt: str
    label: str | None
    category: str | None
    pictures: tuple[tuple[int, str], ...]


def strips(folder: Path) -> list[Strip]:
    """Every prompt of the sample sheets with its first, some later and its last picture."""
    about = folder / "samples.json"
    if not about.exists():
        return []
    prompts: list[dict[str, Any]] = json.loads(about.read_text())["prompts"]
    sheets = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.png")}
    steps = spread(sorted(sheets))
    cut = {step: tiles(sheets[step], len(prompts)) for step in steps}
    return [
        Strip(p["prompt"], p["label"], p["category"], tuple((step, cut[step][i]) for step in steps))
        for i, p in enumerate(prompts)
    ]


def spread(steps: list[int]) -> list[int]:
    """At most MOST of the steps, evenly spread, the first and the last among them."""
    if len(steps) <= MOST:
        return steps
    return [steps[round(i * (len(steps) - 1) / (MOST - 1))] for i in range(MOST)]


def tiles(path: Path, n: int) -> list[str]:
    """The first n pictures of a sheet as data URIs; the sheet is the trainer's square of tiles."""
    with Image.open(path) as page:
        columns = math.ceil(math.sqrt(n))
        rows = math.ceil(n / columns)
        w, h = (page.width - GAP) // columns - GAP, (page.height - GAP) // rows - GAP
        corners = [(GAP + i % columns * (w + GAP), GAP + i // columns * (h + GAP)) for i in range(n)]
        return [data_uri(page.crop((x, y, x + w, y + h))) for x, y in corners]


def data_uri(image: Image.Image) -> str:
    """A picture inside the page itself."""
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
