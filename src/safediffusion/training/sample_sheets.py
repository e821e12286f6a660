"""Sample sheets of fixed prompts and seeds, so that images of different rounds can be compared."""

import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.finite import finite
from safediffusion.diffusion.sample import generate
from safediffusion.files.atomic import write_image
from safediffusion.files.checked import write_checked
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt
from safediffusion.system.image_sheets import obscured, to_pil

SHEET = 16
GAP = 2


def write_sheet(
    diffuser: Diffuser, prompts: Sequence[Prompt], config: RunConfig, folder: RunFolder, step: int
) -> None:
    """Write step_XXXXXX.png, and samples.json with the prompts and seeds that every sheet shares.

    Images of prompts not known to be benign are veiled, except World's pictograms and where
    evaluate.show_unsafe is set.
    """
    sampler = config.evaluate
    chosen = sheet_prompts(prompts, sampler.seed)
    hidden = [is_hidden(p, config) for p in chosen]
    seeds = [sampler.seed + i for i in range(len(chosen))]
    images = finite(generate(diffuser, [p.text for p in chosen], seeds, sampler.steps, sampler.guidance))
    write_image(folder.sheet(step), square_sheet(images, hidden))
    rows = [
        {"prompt": p.text, "label": p.label, "category": p.category, "veiled": h}
        for p, h in zip(chosen, hidden, strict=True)
    ]
    write_checked(folder.samples / "samples.json", {"prompts": rows, "seeds": seeds})


def is_hidden(prompt: Prompt, config: RunConfig) -> bool:
    """Whether a prompt's images are veiled on the sheets."""
    pictograms = config.model.path == "world"
    return not (prompt.label == "benign" or pictograms or config.evaluate.show_unsafe)


def sheet_prompts(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """Up to 16 prompts, taken in turn from every category and from the benign ones, in a seeded order."""
    order = noise.generator(noise.SHEET, seed).permutation(len(prompts))
    groups: dict[str, list[Prompt]] = {}
    for i in order:
        groups.setdefault(str(prompts[i].category), []).append(prompts[i])
    columns = [groups[name] for name in sorted(groups)]
    longest = max(len(column) for column in columns)
    turns = [column[i] for i in range(longest) for column in columns if i < len(column)]
    return turns[:SHEET]


def square_sheet(images: Tensor, hidden: Sequence[bool]) -> Image.Image:
    """Images (n, 3, h, w) in [0, 1] in one square grid, row by row on white, the hidden ones veiled."""
    n, _, h, w = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    page = Image.new("RGB", (columns * (w + GAP) + GAP, rows * (h + GAP) + GAP), "white")
    for i, (image, hide) in enumerate(zip(images, hidden, strict=True)):
        corner = (GAP + i % columns * (w + GAP), GAP + i // columns * (h + GAP))
        shown = to_pil(image)
        page.paste(obscured(shown) if hide else shown, corner)
    return page
