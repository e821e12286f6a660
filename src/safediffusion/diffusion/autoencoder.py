"""Images from latents and latents from images, by an autoencoder and its own normalisation of latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """Images (n, 3, H, W) in [0, 1] from latents (n, c, h, w) as the diffusion model has them.

    A latent that is not finite gives an image of nan; clamped to [0, 1] it would look white or black instead.
    """
    images = vae.decode(denormalised(vae, latents), return_dict=False)[0]
    sound = latents.flatten(1).isfinite().all(1) & images.flatten(1).isfinite().all(1)
    return (images / 2 + 0.5).clamp(0, 1).masked_fill(~sound.view(-1, 1, 1, 1), torch.nan)


@torch.no_grad()
def encoded(vae: Any, images: Tensor) -> Tensor:
    """Latents (n, c, h, w) as the diffusion model has them, the most probable ones of images in [0, 1]."""
    found = vae.encode(2 * images - 1)
    # an autoencoder without a distribution has one latent an image
    latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latent
    return normalised(vae, latents)


def denormalised(vae: Any, latents: Tensor) -> Tensor:
    """The autoencoder's own latents from the diffusion model's."""
    if hasattr(vae, "bn"):
        mean, std = batch_statistics(vae)
        return unpatchify(latents * std + mean)
    mean, std = channel_statistics(vae, latents)
    return latents * std / vae.config.scaling_factor + mean


def normalised(vae: Any, latents: Tensor) -> Tensor:
    """The opposite of `denormalised`."""
    if hasattr(vae, "bn"):
        mean, std = batch_statistics(vae)
        return (patchify(latents) - mean) / std
    mean, std = channel_statistics(vae, latents)
    return (latents - mean) * vae.config.scaling_factor / std


def channel_statistics(vae: Any, latents: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Mean and deviation of each channel, (c, 1, 1), or of all where the settings have one number."""
    means, deviations, shift = (
        getattr(vae.config, name, None) for name in ("latents_mean", "latents_std", "shift_factor")
    )
    if means is None or deviations is None:
        return shift or 0.0, 1.0
    mean, std = (latents.new_tensor(values).view(-1, 1, 1) for values in (means, deviations))
    return mean, std


def batch_statistics(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation (4 c, 1, 1) of squares of 2 x 2 latents, which FLUX.2's autoencoder has learned."""
    std = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
    return vae.bn.running_mean.view(-1, 1, 1), std.view(-1, 1, 1)


def patchify(latents: Tensor) -> Tensor:
    """Squares of 2 x 2 latents as channels of one, (n, 4 c, h/2, w/2) from (n, c, h, w)."""
    n, c, h, w = latents.shape
    return (
        latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
    )


def unpatchify(latents: Tensor) -> Tensor:
    """The opposite of `patchify`, (n, c, h, w) from (n, 4 c, h/2, w/2)."""
    n, c, h, w = latents.shape
    squares = latents.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
    return squares.reshape(n, c // 4, 2 * h, 2 * w)
