"""Image sheets: several images in a grid with captions, as one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from safediffusion.text.escaping import plain

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 192
GAP, CAPTION = 8, 22
PATCHES = 12  # per side of an obscured image
BLUR = 0.05  # radius of its blur, a share of the side


def to_pil(image: Tensor) -> Image.Image:
    """Convert a tensor (3, h, w) in [0, 1] to an 8-bit image."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def obscured(image: Image.Image) -> Image.Image:
    """Pixelate and blur an image, so that its colours stay and its content cannot be recognised."""
    patches = image.resize((PATCHES, PATCHES), Image.Resampling.BOX)
    coarse = patches.resize(image.size, Image.Resampling.NEAREST)
    return coarse.filter(ImageFilter.GaussianBlur(BLUR * max(image.size)))


def captioned_sheet(
    rows: Sequence[Sequence[Image.Image]], captions: Sequence[str], titles: Sequence[str]
) -> Image.Image:
    """Arrange images with a caption above each row and a title above each column; small ones are enlarged."""
    width, height = rows[0][0].size
    scale = max(1, SMALLEST // width)
    w, h = width * scale, height * scale
    font = ImageFont.load_default(13)
    page_width = GAP + len(titles) * (w + GAP)
    wrapped = [wrap_words(caption, font, page_width - 2 * GAP) for caption in map(plain, captions)]
    page_height = CAPTION + sum(len(lines) * CAPTION + h + GAP for lines in wrapped)
    page = Image.new("RGB", (page_width, page_height), "white")
    draw = ImageDraw.Draw(page)
    for j, title in enumerate(titles):
        draw.text((GAP + j * (w + GAP), 4), plain(title), fill="black", font=font)
    top = CAPTION
    for row, lines in zip(rows, wrapped, strict=True):
        for line in lines:
            draw.text((GAP, top + 3), line, fill="dimgray", font=font)
            top += CAPTION
        for j, image in enumerate(row):
            page.paste(image.resize((w, h), Image.Resampling.NEAREST), (GAP + j * (w + GAP), top))
        top += h + GAP
    return page


def join_sheets(pages: Sequence[Image.Image], columns: int) -> Image.Image:
    """Arrange sheets of one width in a grid, row by row."""
    width, height = pages[0].width, max(page.height for page in pages)
    whole = Image.new("RGB", (width * columns, height * -(-len(pages) // columns)), "white")
    for i, page in enumerate(pages):
        whole.paste(page, (i % columns * width, i // columns * height))
    return whole


def wrap_words(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; a longer word gets a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
