"""World's UNet2DConditionModel, trained on cached VAE latents and frozen text-tower states."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from ..captions import training_pair
from .images import render_batch
from .loop import Schedule, fit

DETAIL = Schedule(steps=6000, lr=1.2e-3, seed=31, ema=0.999, warmup=300, horizon=7000)
CONTENT = Schedule(steps=3500, lr=8e-4, seed=32, ema=0.999, warmup=100)
BATCH = 64
PAIRS = 60_000
CAPTION_DROPOUT = 0.1
MIN_SNR_GAMMA = 5.0
MOST = 10.0  # weight of the noisiest timesteps


def new_unet(text_width: int) -> Any:
    """An untrained UNet2DConditionModel."""
    return UNet2DConditionModel.from_config(
        {
            "sample_size": 8,
            "in_channels": 8,
            "out_channels": 8,
            "block_out_channels": (96, 160),
            "down_block_types": ("CrossAttnDownBlock2D",) * 2,
            "up_block_types": ("CrossAttnUpBlock2D",) * 2,
            "layers_per_block": 1,
            "cross_attention_dim": text_width,
            "attention_head_dim": 4,
            "norm_num_groups": 8,
        }
    )


def new_scheduler() -> DDIMScheduler:
    """SD's beta schedule and step offset."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def cache_latents(vae: Any, folder: Path, device: str) -> tuple[Tensor, list[str]]:
    """Latents (PAIRS, 8, 8, 8) scaled to unit deviation, with their captions; sets vae's scaling factor."""
    file, texts = folder / "latents.safetensors", folder / "captions.json"
    if not file.exists():
        rng = np.random.default_rng(DETAIL.seed)
        captions, chunks = [], []
        for _ in range(PAIRS // 100):
            pairs = [training_pair(rng) for _ in range(100)]
            captions += [caption for _, caption in pairs]
            images = render_batch([scene for scene, _ in pairs]).to(device) * 2 - 1
            with torch.no_grad(), torch.autocast(device, torch.bfloat16):
                chunks.append(vae.encode(images).latent_dist.mean.float().cpu())
        texts.write_text(json.dumps(captions))
        save_file({"latents": torch.cat(chunks).contiguous()}, file)
    latents = load_file(file)["latents"]
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return latents * vae.config.scaling_factor, json.loads(texts.read_text())


@torch.no_grad()
def encode_captions(
    text_encoder: Any, tokenizer: CLIPTokenizer, captions: list[str]
) -> tuple[Tensor, Tensor]:
    """States (m + 1, context, width) of the m distinct captions and "", and each caption's row."""
    distinct = list(dict.fromkeys(["", *captions]))
    rows = {caption: i for i, caption in enumerate(distinct)}
    tokens = tokenizer(distinct, padding="max_length", truncation=True, return_tensors="pt").input_ids
    states = [text_encoder(chunk).last_hidden_state for chunk in tokens.split(500)]
    return torch.cat(states), torch.tensor([rows[caption] for caption in captions])


def detail_weight(snr: Tensor) -> Tensor:
    """Min-SNR weights of the noise's error (Hang et al., 2023)."""
    return (MIN_SNR_GAMMA / snr).clamp(max=1)


def content_weight(snr: Tensor) -> Tensor:
    """The same for an error in v: what a picture is about, its colours above all, is settled at high noise.

    There the noise is easy to guess without reading the caption, so its own error hardly asks for it.
    """
    return ((snr + 1).clamp(max=MIN_SNR_GAMMA) / snr).clamp(max=MOST)


def train_unet(vae: Any, text_encoder: Any, tokenizer: CLIPTokenizer, folder: Path, device: str) -> Any:
    """A UNet that learns details first, then what the caption asks for."""
    latents, captions = cache_latents(vae, folder, device)
    states, rows = encode_captions(text_encoder, tokenizer, captions)
    latents, states = latents.to(device), states.to(device)
    alphas = new_scheduler().alphas_cumprod.to(device)
    torch.manual_seed(DETAIL.seed)
    unet = new_unet(states.shape[-1]).to(device)

    def loss(rng: Generator, weight: Callable[[Tensor], Tensor]) -> Tensor:
        index = torch.from_numpy(rng.integers(len(latents), size=BATCH))
        kept = torch.from_numpy(rng.uniform(size=BATCH) >= CAPTION_DROPOUT)
        t = torch.from_numpy(rng.integers(1000, size=BATCH)).to(device)
        noise = torch.from_numpy(rng.standard_normal((BATCH, 8, 8, 8), dtype=np.float32)).to(device)
        a = alphas[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * latents[index.to(device)] + (1 - a).sqrt() * noise
        with torch.autocast(device, torch.bfloat16):
            predicted = unet(noisy, t, states[(rows[index] * kept).to(device)]).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        return (error * weight(alphas[t] / (1 - alphas[t]))).mean()

    fit("unet", unet, lambda rng: loss(rng, detail_weight), DETAIL, folder)
    fit("unet-content", unet, lambda rng: loss(rng, content_weight), CONTENT, folder)
    return unet
