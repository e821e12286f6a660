"""World's AutoencoderKL: 64x64 pixels to 8x8 latents of 16 channels.

Twelve of the channels are held to a thumbnail of the image, 16x16 pixels folded into 8x8. Without this, so
small an encoder hides colours in codes that a denoiser does not learn within hours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from safediffusion.world.networks.images import render_batch
from safediffusion.world.networks.loop import Schedule, fit
from safediffusion.world.scenes import SIZE, random_scene

SCHEDULE = Schedule(steps=2000, lr=2e-3, seed=11, ema=0.995)
BATCH = 32
KL_WEIGHT = 1e-4
LATENTS = (16, 8, 8)
THUMBNAIL_WEIGHT = 0.2
THUMBNAIL_MEAN, THUMBNAIL_GAIN = 0.45, 2.0  # of pixels in [-1, 1]: about zero mean and unit deviation
DECODER_SCHEDULE = Schedule(steps=1000, lr=1e-3, seed=12, ema=0.995)
DISTURBANCE = 0.1  # largest deviation of the noise on the latents, in units of their own


def new_vae() -> Any:
    """An untrained AutoencoderKL; Any, because diffusers' own annotations reject its documented use."""
    return AutoencoderKL.from_config(
        {
            "block_out_channels": (16, 32, 64, 128),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "latent_channels": LATENTS[0],
            "sample_size": SIZE,
            "mid_block_add_attention": False,
        }
    )


def load_vae(path: Path) -> Any:
    """A trained AutoencoderKL."""
    return AutoencoderKL.from_pretrained(path)


def thumbnail(images: Tensor) -> Tensor:
    """A 16x16 thumbnail folded into latents, (n, 12, 8, 8), of images (n, 3, 64, 64) in [-1, 1]."""
    return F.pixel_unshuffle((F.avg_pool2d(images, 4) - THUMBNAIL_MEAN) * THUMBNAIL_GAIN, 2)


def vae_loss(vae: Any, images: Tensor, noise: Tensor) -> Tensor:
    """Error of the reconstruction, the KL to N(0, 1), and the thumbnail channels' distance, per element."""
    with torch.autocast(images.device.type, torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    error = decoded.float() - images
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    target = thumbnail(images)
    distance = (posterior.mean[:, : target.shape[1]].float() - target).square().mean()
    return error.square().mean() + 0.1 * error.abs().mean() + KL_WEIGHT * kl + THUMBNAIL_WEIGHT * distance


def train_vae(folder: Path, device: str) -> Any:
    """An AutoencoderKL trained on World's scenes.

    Checkpoints lie in `folder`; a later call continues from them.
    """
    torch.manual_seed(SCHEDULE.seed)
    vae = new_vae().to(device)

    def loss(rng: np.random.Generator, step: int) -> Tensor:
        images = render_batch([random_scene(rng) for _ in range(BATCH)]).to(device) * 2 - 1
        noise = torch.from_numpy(rng.standard_normal((BATCH, *LATENTS), dtype=np.float32)).to(device)
        return vae_loss(vae, images, noise)

    fit("vae", vae, loss, SCHEDULE, folder)
    return vae


def polish_decoder(vae: Any, folder: Path, device: str) -> Any:
    """Trains the decoder alone, on latents disturbed as a sampler disturbs them; the latents stay."""
    vae.to(device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)

    def loss(rng: np.random.Generator, step: int) -> Tensor:
        images = render_batch([random_scene(rng) for _ in range(BATCH)]).to(device) * 2 - 1
        noise = torch.from_numpy(rng.standard_normal((BATCH, *LATENTS), dtype=np.float32)).to(device)
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(images).latent_dist.mean
            disturbed = latents + float(rng.uniform(0, DISTURBANCE)) / vae.config.scaling_factor * noise
            error = vae.decode(disturbed).sample.float() - images
        return error.square().mean() + 0.1 * error.abs().mean()

    fit("decoder", vae, loss, DECODER_SCHEDULE, folder)
    return vae
