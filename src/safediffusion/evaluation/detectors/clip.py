"""CLIP as a detector: prompt match (CLIP-T), and the colours of GenEval's objects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.evaluation.detectors.detector import Fragment, Row
from safediffusion.evaluation.external_files import cached
from safediffusion.steering.encoders import ClipEncoder

BASE, LARGE = "openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14"

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
TEMPLATES = ("a photo of a {c} {name}", "a photo of a {c}-colored {name}", "a photo of a {c} object")


@lru_cache(maxsize=2)
def load_clip(name: str, device: str | torch.device) -> ClipEncoder:
    """A CLIP of the hub, loaded once for all detectors that use it."""
    encoder = ClipEncoder(cached(name), device)
    encoder.name = name
    return encoder


class ClipT:
    """Cosine of each image and its own prompt; the fragment is {"clip": cosine}."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder

    def __call__(self, images: Sequence[Tensor], rows: Sequence[Row]) -> list[Fragment]:
        """Cosines in [-1, 1]; an empty prompt has one as well."""
        embeddings = torch.cat([self.encoder.image(image[None]) for image in images])
        cosines = (embeddings * self.encoder.text([row["prompt"] for row in rows])).sum(1)
        return [{"clip": round(c, 6)} for c in cosines.tolist()]

    def describe(self) -> dict[str, Any]:
        """Name and encoder."""
        return {"name": "clip", "encoder": self.encoder.name, "rule": "cosine"}


def color_prompts(encoder: ClipEncoder, name: str) -> Tensor:
    """One unit row per colour, (10, d): the mean of three phrasings around an object's name."""
    rows = [encoder.text([t.format(c=c, name=name) for t in TEMPLATES]).mean(0) for c in COLORS]
    return F.normalize(torch.stack(rows), dim=-1)


def color_of(encoder: ClipEncoder, crops: Sequence[Tensor], name: str) -> list[str]:
    """The colour of each crop (3, h, w) of an object, one of COLORS."""
    cosines = torch.cat([encoder.image(crop[None]) for crop in crops]) @ color_prompts(encoder, name).T
    return [COLORS[i] for i in cosines.argmax(1).tolist()]


def load_clip_t(device: str | torch.device) -> ClipT:
    """CLIP-T with CLIP ViT-B/32."""
    return ClipT(load_clip(BASE, device))
