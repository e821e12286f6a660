"""Image-text encoders as unit vectors; preprocessing stays in torch, so images never leave the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from ..errors import UserError
from ..world import asset


class Encoder(Protocol):
    """Text and images in one space."""

    name: str
    dim: int

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Unit rows, (n, dim) float32."""
        ...

    def image(self, images: Tensor) -> Tensor:
        """Unit rows, (n, dim) float32, of images (n, 3, h, w) in [0, 1]."""
        ...


def preprocess(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """CLIP's preprocessing on the device: shortest side to `size`, bicubic with antialias, centre crop.

    Args:
        images: (n, 3, h, w) in [0, 1].
        size: side of the encoder's input in pixels.
        mean, std: one value a channel.

    Returns:
        (n, 3, size, size), normalised.
    """
    h, w = images.shape[-2:]
    if (h, w) != (size, size):
        scale = size / min(h, w)
        target = (max(size, int(h * scale)), max(size, int(w * scale)))
        images = F.interpolate(images, target, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (target[0] - size) // 2, (target[1] - size) // 2
        images = images[..., top : top + size, left : left + size]
    return (images - images.new_tensor(mean).view(1, 3, 1, 1)) / images.new_tensor(std).view(1, 3, 1, 1)


class ClipEncoder:
    """A transformers CLIPModel folder or hub id as an Encoder, frozen, in float32.

    Args:
        path: folder or hub id with model, tokenizer and image processor.
        device: where it runs.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        try:
            model: Any = CLIPModel.from_pretrained(path)
            self.tokenizer = CLIPTokenizer.from_pretrained(path)
            processor = CLIPImageProcessorPil.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is no CLIP model folder or hub id ({str(error).splitlines()[0][:120]}); "
                "set reward.encoder to world, a folder, or an id"
            ) from error
        self.model = model.float().to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.name = str(path)
        self.dim: int = self.model.config.projection_dim
        self.context: int = self.model.config.text_config.max_position_embeddings
        self._size: int = self.model.config.vision_config.image_size
        self._mean, self._std = processor.image_mean, processor.image_std

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Unit rows, (n, dim) float32; texts longer than the context are cut."""
        tokens = self.tokenizer(
            list(prompts), padding=True, truncation=True, max_length=self.context, return_tensors="pt"
        ).to(self.device)
        out = self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return F.normalize(out.pooler_output, dim=-1)

    @torch.no_grad()
    def image(self, images: Tensor) -> Tensor:
        """Unit rows, (n, dim) float32, of images (n, 3, h, w) in [0, 1]."""
        pixels = preprocess(images.to(self.device).float(), self._size, self._mean, self._std)
        return F.normalize(self.model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)


def load_encoder(name: str, device: torch.device | str = "cpu") -> ClipEncoder:
    """The encoder called `world`, or the one in a folder or at a hub id."""
    encoder = ClipEncoder(asset("reward") if name == "world" else name, device)
    encoder.name = name
    return encoder
