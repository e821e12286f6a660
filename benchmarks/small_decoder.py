"""An AutoencoderTiny for World, taught to decode as World's own autoencoder does.

World ships none: its own decoder is small. `items.py` uses this one to measure `model.tiny_vae`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny

from safediffusion.config import load_config
from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.rollout import Sampling, solve
from safediffusion.prompts.select import load_prompts
from safediffusion.system.device import pick_device

IMAGES, DENOISING, GUIDANCE = 64, 10, 3.0
UPDATES, BATCH, RATE = 300, 8, 3e-3
SPREAD = 0.2  # deviation of noise on the latents, so that it learns more than 64 of them


def teach(folder: Path, images: int = IMAGES, updates: int = UPDATES) -> Path:
    """Write a tiny autoencoder that matches World's decoder on benign prompts; returns its folder."""
    diffuser = load_model(ModelConfig(dtype="fp32"), pick_device())
    torch.manual_seed(0)
    width = (16,) * 4  # four levels, as World's: eight pixels per latent and side
    make: Any = AutoencoderTiny
    tiny = make(
        latent_channels=diffuser.latent_shape[0],
        encoder_block_out_channels=width,
        decoder_block_out_channels=width,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    ).to(diffuser.device)
    latents = world_latents(diffuser, images)
    optimizer = torch.optim.AdamW(tiny.decoder.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        some = latents[torch.randint(len(latents), (BATCH,))]
        some = some + SPREAD * torch.randn_like(some)
        with torch.no_grad():
            target = 2 * diffuser.decode(some) - 1
        optimizer.zero_grad()
        F.mse_loss(tiny.decode(some).sample, target).backward()  # not clamped, or there is no gradient
        optimizer.step()
        schedule.step()
    tiny.save_pretrained(folder)
    return folder


def world_latents(diffuser: Diffuser, n: int) -> torch.Tensor:
    """Clean latents of World's first n benign prompts, (n, c, h, w)."""
    rows = load_prompts(load_config("world", ["prompts.path=world-benign"]).prompts).rows
    cond = diffuser.encode([rows[i % len(rows)].text for i in range(n)])
    start = noise.normal([(noise.SAMPLE, seed) for seed in range(n)], diffuser.latent_shape)
    return solve(diffuser, diffuser.process.schedule(DENOISING), cond, start, Sampling(GUIDANCE, BATCH))
