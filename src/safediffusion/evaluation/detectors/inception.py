"""Inception features for FID and KID, with resizing that is antialiased (Parmar et al., 2022).

The network is NVIDIA's TorchScript translation of the 2015 weights; torch's interpreter runs TorchScript
as data; no Python is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from safediffusion.evaluation.detectors.detector import Fragment, Row
from safediffusion.evaluation.external_files import External

SIDE, BATCH = 299, 16
WEIGHTS = External(
    "inception-2015-12-05.pt",
    "curl -f --create-dirs -Lo {home}/inception-2015-12-05.pt "
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    "Apache-2.0 weights, NVIDIA's translation",
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)


def clean_resize(image: Tensor) -> Tensor:
    """An image (3, h, w) in [0, 1] as (3, 299, 299) in [0, 255], float, without rounding in between.

    8-bit values first, as if the image had been saved; then bicubic with antialias, channel by channel.
    """
    pixels = (image * 255).round().cpu().numpy().astype(np.float32)
    size = (SIDE, SIDE)
    channels = [Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC) for channel in pixels]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in channels])).clamp(0, 255)


class Inception:
    """Pooled features; the fragment is {"inception": (2048,) float16}."""

    def __init__(self, device: str | torch.device) -> None:
        self.network: Any = torch.jit.load(str(WEIGHTS.path()), map_location=device).eval()
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Sequence[Tensor], rows: Sequence[Row]) -> list[Fragment]:
        """Features of images of any size."""
        pixels = torch.stack([clean_resize(image) for image in images])
        parts = [self.network.layers((x.to(self.device) - 128) / 128) for x in pixels.split(BATCH)]
        return [{"inception": row} for row in torch.cat(parts).flatten(1).cpu()]

    def describe(self) -> dict[str, Any]:
        """Name, hash and resizing."""
        return {"name": "inception", "sha256": WEIGHTS.sha256, "rule": "clean resize, 2048 pooled features"}
