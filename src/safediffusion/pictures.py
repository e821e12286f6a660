"""Picture sheets for people: images in rows and columns, with captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 192
GAP, CAPTION = 8, 22


def to_pil(image: Tensor) -> Image.Image:
    """A picture from (3, h, w) in [0, 1]."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def sheet(
    rows: Sequence[Sequence[Image.Image]], captions: Sequence[str], titles: Sequence[str]
) -> Image.Image:
    """A sheet with a caption above each row and a title above each column; small pictures are enlarged."""
    width, height = rows[0][0].size
    scale = max(1, SMALLEST // width)
    w, h = width * scale, height * scale
    font = ImageFont.load_default(13)
    columns = len(titles)
    page = Image.new("RGB", (GAP + columns * (w + GAP), CAPTION + len(rows) * (h + CAPTION + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for j, title in enumerate(titles):
        draw.text((GAP + j * (w + GAP), 4), title, fill="black", font=font)
    for i, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = CAPTION + i * (h + CAPTION + GAP)
        draw.text((GAP, top + 3), caption, fill="dimgray", font=font)
        for j, image in enumerate(row):
            page.paste(image.resize((w, h), Image.Resampling.NEAREST), (GAP + j * (w + GAP), top + CAPTION))
    return page
