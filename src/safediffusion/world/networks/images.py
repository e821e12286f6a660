"""Training images: rendered batches, mild augmentation, and broken images."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from safediffusion.world.scenes import SIZE, Scene, render


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (n, h, w, 3) to float (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)


def render_batch(scenes: list[Scene]) -> Tensor:
    """Rendered scenes as images (n, 3, 64, 64) in [0, 1]."""
    return to_tensor(np.stack([render(scene) for scene in scenes]))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images (n, c, h, w) blurred by a Gaussian of `sigma` pixels; edges are repeated."""
    radius = max(1, round(2.5 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(images.device)
    c = images.shape[1]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)
    return F.conv2d(rows, kernel.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)


def _noise(rng: Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(rng.standard_normal(like.shape, dtype=np.float32)).to(like.device)


def augment(rng: Generator, images: Tensor) -> Tensor:
    """Blur, noise, tint, gain or resampling so mild that the content stays plain to see."""
    out = images.clone()
    kinds = rng.integers(0, 6, size=len(images))
    for kind in range(1, 6):
        index = torch.from_numpy(np.flatnonzero(kinds == kind))
        if not len(index):
            continue
        x = images[index]
        if kind == 1:
            x = gaussian_blur(x, float(rng.uniform(0.4, 1.1)))
        elif kind == 2:
            x = x + float(rng.uniform(0.01, 0.05)) * _noise(rng, x)
        elif kind == 3:
            tint = torch.from_numpy(rng.uniform(-0.08, 0.08, size=(len(index), 3, 1, 1)).astype(np.float32))
            x = x * float(rng.uniform(0.88, 1.08)) + tint
        elif kind == 4:
            small = F.interpolate(x, size=int(rng.integers(40, 60)), mode="bilinear", antialias=True)
            x = F.interpolate(small, size=SIZE, mode="bilinear")
        else:
            x = torch.roll(x, (int(rng.integers(-2, 3)), int(rng.integers(-2, 3))), (2, 3))
        out[index] = x
    return out.clamp(0, 1)


def break_images(rng: Generator, images: Tensor) -> Tensor:
    """Images in which nothing can be recognised: noise, blur, flat colour, checkerboards, mixtures."""
    out = []
    for i in range(len(images)):
        x = images[i : i + 1]
        kind = int(rng.integers(8))
        if kind == 0:
            x = 0.5 + float(rng.uniform(0.15, 0.5)) * _noise(rng, x)
        elif kind == 1:
            x = gaussian_blur(x, float(rng.uniform(6, 10)))
        elif kind == 2:
            x = torch.ones_like(x) * torch.from_numpy(rng.uniform(0, 1, (1, 3, 1, 1)).astype(np.float32))
        elif kind == 3:
            x = 0.15 * x + 0.425 + float(rng.uniform(0.25, 0.5)) * _noise(rng, x)
        elif kind == 4:
            coarse = torch.from_numpy(
                rng.uniform(0, 1, (1, 3, int(rng.integers(3, 10)), int(rng.integers(3, 10))))
            )
            x = F.interpolate(coarse.float(), size=SIZE, mode="bicubic")
        elif kind == 5:
            period = int(rng.integers(1, 5))
            grid = torch.arange(SIZE) // period
            board = ((grid[:, None] + grid[None]) % 2).float()
            colors = torch.from_numpy(rng.uniform(0, 1, (2, 3, 1, 1)).astype(np.float32))
            x = (colors[0] * board + colors[1] * (1 - board))[None] + 0.1 * _noise(rng, x)
        elif kind == 6:
            patches = x.unfold(2, 8, 8).unfold(3, 8, 8).reshape(3, 64, 8, 8)
            patches = patches[:, torch.from_numpy(rng.permutation(64))].reshape(3, 8, 8, 8, 8)
            x = patches.permute(0, 1, 3, 2, 4).reshape(1, 3, SIZE, SIZE)
        else:
            mixed = images[torch.from_numpy(rng.permutation(len(images))[:5])].mean(0, keepdim=True)
            x = gaussian_blur(mixed, 2.0) + float(rng.uniform(0.0, 0.15)) * _noise(rng, x)
        out.append(x)
    return torch.cat(out).clamp(0, 1)
