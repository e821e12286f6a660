"""World's UNet2DConditionModel, trained on cached VAE latents and frozen text-tower states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from numpy.random import Generator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from safediffusion.files.atomic import write_tensors, write_text
from safediffusion.files.checked import read_tensors, understood
from safediffusion.world.captions import training_pair
from safediffusion.world.networks.images import render_batch
from safediffusion.world.networks.loop import Schedule, fit
from safediffusion.world.networks.vae import LATENTS

SCHEDULE = Schedule(steps=12_000, lr=1.2e-3, seed=31, ema=0.999, warmup=300)
BATCH = 64
PAIRS = 60_000
CAPTION_DROPOUT = 0.1
MIN_SNR_GAMMA = 5.0
# SD's noise schedule is made for many more latents. At unit deviation the colours of so few are settled
# in the noisiest tenth of it; smaller latents drown earlier, and captions matter for longer (Chen, 2023).
DEVIATION = 0.5


def new_unet(text_width: int) -> Any:
    """An untrained UNet2DConditionModel."""
    return UNet2DConditionModel.from_config(
        {
            "sample_size": 8,
            "in_channels": LATENTS[0],
            "out_channels": LATENTS[0],
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
    """SD's beta schedule and step offset, with SD 2.x's v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def cache_latents(vae: Any, folder: Path, device: str) -> tuple[Tensor, list[str]]:
    """Latents (PAIRS, *LATENTS) scaled to DEVIATION, with their captions; sets vae's scaling factor."""
    file, texts = folder / "latents.safetensors", folder / "captions.json"
    if not (file.exists() and texts.exists()):
        rng = np.random.default_rng(SCHEDULE.seed)
        captions, chunks = [], []
        for _ in range(PAIRS // 100):
            pairs = [training_pair(rng) for _ in range(100)]
            captions += [caption for _, caption in pairs]
            images = render_batch([scene for scene, _ in pairs]).to(device) * 2 - 1
            with torch.no_grad(), torch.autocast(device, torch.bfloat16):
                chunks.append(vae.encode(images).latent_dist.mean.float().cpu())
        write_text(texts, json.dumps(captions))
        write_tensors(file, {"latents": torch.cat(chunks).contiguous()})
    latents = read_tensors(file)["latents"]
    vae.register_to_config(scaling_factor=round(DEVIATION / latents.std().item(), 5))
    with understood(texts):
        captions = json.loads(texts.read_text(encoding="utf-8"))
    return latents * vae.config.scaling_factor, captions


def level_weight(alpha: Tensor) -> Tensor:
    """Weight of an error of v, (n,): 1, but where there is little noise as min-SNR (Hang et al., 2023)."""
    return ((1 - alpha) * MIN_SNR_GAMMA / DEVIATION**2).clamp(max=1.0)


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


def train_unet(vae: Any, text_encoder: Any, tokenizer: CLIPTokenizer, folder: Path, device: str) -> Any:
    """A UNet trained on World's scenes; sets the scaling factor of `vae`.

    Checkpoints and cached latents lie in `folder`; a later call continues from them.
    """
    latents, captions = cache_latents(vae, folder, device)
    states, rows = encode_captions(text_encoder, tokenizer, captions)
    latents, states = latents.to(device), states.to(device)
    alphas = new_scheduler().alphas_cumprod.to(device)
    torch.manual_seed(SCHEDULE.seed)
    unet = new_unet(states.shape[-1]).to(device)

    def loss(rng: Generator) -> Tensor:
        index = torch.from_numpy(rng.integers(len(latents), size=BATCH))
        kept = torch.from_numpy(rng.uniform(size=BATCH) >= CAPTION_DROPOUT)
        t = torch.from_numpy(rng.integers(1000, size=BATCH)).to(device)
        noise = torch.from_numpy(rng.standard_normal((BATCH, *LATENTS), dtype=np.float32)).to(device)
        a = alphas[t].view(-1, 1, 1, 1)
        x = latents[index.to(device)]
        noisy, target = a.sqrt() * x + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x
        # The fused attention kernel's backward takes a third of a CPU step at these sizes.
        with torch.autocast(device, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(noisy, t, states[(rows[index] * kept).to(device)]).sample
        error = (predicted.float() - target).square().mean((1, 2, 3))
        return (error * level_weight(alphas[t])).mean()

    fit("unet", unet, loss, SCHEDULE, folder)
    return unet
