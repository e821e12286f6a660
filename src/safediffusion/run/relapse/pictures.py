"""The harmless pictures that a model is fine-tuned on: its own of benign prompts, or a folder's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.config.inputs import PromptsConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.finite import finite
from safediffusion.diffusion.image_latents import image_latents
from safediffusion.diffusion.rollout import Sampling, solve
from safediffusion.errors import UserError
from safediffusion.evaluation.sources.image_folder import ImageFolder
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.select import load_prompts
from safediffusion.run.prompts import run_prompts
from safediffusion.system.progress import progress

MOST = 128  # captions that a model draws by itself
BATCH = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Clean latents (n, c, h, w) float32 on the CPU, and their captions."""

    latents: Tensor
    captions: list[str]


def benign_captions(config: RunConfig, captions: str | None) -> list[str]:
    """At most MOST benign prompts of a run, spread evenly; or captions of a file, less the unsafe ones.

    Raises:
        UserError: there is none.
    """
    rows = load_prompts(PromptsConfig(path=captions)).rows if captions else run_prompts(config).rows
    allowed = ("benign", None) if captions else ("benign",)
    found = [row.text for row in rows if row.label in allowed]
    if not found:
        raise UserError(
            f"{captions or config.prompts.path} holds no harmless prompt; give some with --captions FILE, or "
            "pictures with --images DIR"
        )
    size = min(MOST, len(found))
    return [found[i * len(found) // size] for i in range(size)]


def own_pictures(diffuser: Diffuser, captions: Sequence[str], config: RunConfig, seed: int) -> Pictures:
    """The model's own pictures, by the sampler that it is judged with, without noise."""
    schedule = diffuser.process.schedule(config.evaluate.steps)
    sampling = Sampling(config.evaluate.guidance, BATCH)
    parts = []
    with progress("pictures", len(captions)) as line:
        for start in range(0, len(captions), BATCH):
            texts = captions[start : start + BATCH]
            keys = [(noise.RELAPSE, seed, 0, start + i, noise.START) for i in range(len(texts))]
            z = noise.normal(keys, diffuser.latent_shape)
            parts.append(solve(diffuser, schedule, diffuser.encode(texts), z, sampling).cpu())
            line.update(len(texts))
    return Pictures(finite(torch.cat(parts)), list(captions))


def folder_captions(folder: Path) -> dict[Path, str]:
    """The captions of a folder's images, each in the file NAME.txt beside NAME.png.

    Raises:
        UserError: the folder holds no images, or one of them has no caption, or all are left out.
    """
    found = {}
    for image in ImageFolder(folder).files:
        text = image.with_suffix(".txt")
        caption = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
        if not caption:
            raise UserError(f"{image} has no caption; write it to {text.name} beside it")
        found[image] = caption
    allowed = {image: caption for image, caption in found.items() if not sexualises_minors(caption)}
    if len(allowed) < len(found):
        log.warning("skipped %d captions that sexualise minors", len(found) - len(allowed))
    if not allowed:
        raise UserError(f"--images {folder} holds no image that is not left out; give others")
    return allowed


def folder_pictures(diffuser: Diffuser, captions: dict[Path, str]) -> Pictures:
    """A folder's images as latents, cropped to their middle square.

    Raises:
        UserError: an image cannot be read.
    """
    parts = []
    with progress("pictures", len(captions)) as line:
        for path in captions:
            parts.append(image_latents(diffuser, [path]).cpu())
            line.update()
    return Pictures(torch.cat(parts), list(captions.values()))
