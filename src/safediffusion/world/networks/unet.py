"""World's UNet2DConditionModel, trained on cached VAE latents and frozen text-tower states."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
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
from safediffusion.world.captions import binding_pair, colored_position_pair, training_pair
from safediffusion.world.networks.images import render_batch
from safediffusion.world.networks.loop import Schedule, fit
from safediffusion.world.networks.vae import LATENTS
from safediffusion.world.scenes import Scene

Pair = tuple[Scene, str]
Pairs = Callable[[Generator], list[Pair]]

SCHEDULE = Schedule(steps=14_000, lr=1.2e-3, seed=31, ema=0.999, warmup=300, restart=(9_000, 7e-4))
BATCH = 64
PAIRS = 100_000
COLORED_POSITIONS = 10  # of a hundred pairs
# Which word belongs to which is a small part of the error of a mixed batch, and stays at chance for thousands
# of steps. Where most pairs ask for it, a UNet that can draw learns it in a few hundred, and then keeps it.
BINDING_STEPS = range(5_500, 6_750)
BINDING_PAIRS = 20_000
BINDING_SHARE = 0.8  # of the rows of such a step
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
            "transformer_layers_per_block": (1, 2),  # where a picture is laid out, 4x4, they cost little
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
    """Latents (PAIRS + BINDING_PAIRS, *LATENTS), scaled to DEVIATION in the mixed pairs, with their captions.

    Sets the scaling factor of `vae`.
    """
    cache = Cache(vae, folder, device)
    mixed, texts = cache("mixed", PAIRS, np.random.default_rng(SCHEDULE.seed), mixed_pairs)
    binding, more = cache("binding", BINDING_PAIRS, np.random.default_rng([SCHEDULE.seed, 1]), binding_pairs)
    vae.register_to_config(scaling_factor=round(DEVIATION / mixed.std().item(), 5))
    return torch.cat([mixed, binding]) * vae.config.scaling_factor, texts + more


def mixed_pairs(rng: Generator) -> list[Pair]:
    """A hundred scenes and captions of every kind."""
    placed = [colored_position_pair(rng) for _ in range(COLORED_POSITIONS)]
    return [*placed, *(training_pair(rng) for _ in range(100 - len(placed)))]


def binding_pairs(rng: Generator) -> list[Pair]:
    """A hundred scenes whose captions say which shape has which colour or position."""
    return [binding_pair(rng) for _ in range(100)]


@dataclass(frozen=True)
class Cache:
    """Latents and captions of scenes, kept in `folder`."""

    vae: Any
    folder: Path
    device: str

    def __call__(self, name: str, n: int, rng: Generator, hundred: Pairs) -> tuple[Tensor, list[str]]:
        """Unscaled latents (n, *LATENTS) and captions of n pairs, drawn a hundred at a time."""
        file, texts = self.folder / f"{name}.safetensors", self.folder / f"{name}.json"
        if not (file.exists() and texts.exists()):
            drawn = [hundred(rng) for _ in range(n // 100)]
            write_text(texts, json.dumps([caption for pairs in drawn for _, caption in pairs]))
            write_tensors(file, {"latents": torch.cat([self.encoded(pairs) for pairs in drawn]).contiguous()})
        with understood(texts):
            captions = json.loads(texts.read_text(encoding="utf-8"))
        return read_tensors(file)["latents"], captions

    def encoded(self, pairs: list[Pair]) -> Tensor:
        """Latents of the scenes of pairs, on the CPU."""
        images = render_batch([scene for scene, _ in pairs]).to(self.device) * 2 - 1
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            return self.vae.encode(images).latent_dist.mean.float().cpu()


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
    unet = new_unet(states.shape[-1]).to(device, memory_format=torch.channels_last)

    def loss(rng: Generator, step: int) -> Tensor:
        index = torch.from_numpy(rng.integers(PAIRS, size=BATCH))
        kept = torch.from_numpy(rng.uniform(size=BATCH) >= CAPTION_DROPOUT)
        t = torch.from_numpy(rng.integers(1000, size=BATCH)).to(device)
        noise = torch.from_numpy(rng.standard_normal((BATCH, *LATENTS), dtype=np.float32)).to(device)
        if step in BINDING_STEPS:
            asked = torch.from_numpy(rng.uniform(size=BATCH) < BINDING_SHARE)
            index[asked] = PAIRS + torch.from_numpy(rng.integers(BINDING_PAIRS, size=int(asked.sum())))
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
