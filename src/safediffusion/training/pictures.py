"""Sample sheets of fixed prompts and seeds, so that pictures of different rounds can be laid side by side."""

import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from safediffusion.diffusion import noise
from safediffusion.prompts import Prompt

SHEET = 16
GAP = 2


def sheet_prompts(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """Up to 16 prompts, taken in turn from every category and from the benign ones, in a seeded order."""
    order = noise.generator(noise.SAMPLE, seed, 0).permutation(len(prompts))
    groups: dict[str, list[Prompt]] = {}
    for i in order:
        groups.setdefault(str(prompts[i].category), []).append(prompts[i])
    columns = [groups[name] for name in sorted(groups)]
    longest = max(len(column) for column in columns)
    turns = [column[i] for i in range(longest) for column in columns if i < len(column)]
    return turns[:SHEET]


def sheet(images: Tensor, columns: int | None = None) -> Image.Image:
    """Images (n, 3, h, w) in [0, 1] as one picture, row by row on white."""
    n, _, h, w = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    page = Image.new("RGB", (columns * (w + GAP) + GAP, rows * (h + GAP) + GAP), "white")
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for i, picture in enumerate(pixels):
        corner = (GAP + i % columns * (w + GAP), GAP + i // columns * (h + GAP))
        page.paste(Image.fromarray(picture), corner)
    return page
