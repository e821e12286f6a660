"""The stages of `world build`, in order; a finished stage is a folder and is not run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from safediffusion.diffusion.portable import make_portable
from safediffusion.files.atomic import copy_folder, replacing_folder
from safediffusion.files.folder_lock import locked
from safediffusion.files.leftovers import sweep_below
from safediffusion.world.networks import clip, judges, unet, vae
from safediffusion.world.networks.tokenizer import train_tokenizer

STAGES = ("vae", "tower", "unet", "decoder", "reward", "observer", "harm-judge", "parts-judge")


def build(work: Path, device: str, stages: tuple[str, ...] = STAGES) -> None:
    """Trains the named stages into `work`/done/NAME; interrupted ones continue from their checkpoint."""
    with locked(work):
        sweep_below(work)
        for name in stages:
            _build_stage(name, work, device)


def _build_stage(name: str, work: Path, device: str) -> None:
    done = work / "done" / name
    if done.exists():
        print(f"{name}: done already", flush=True)
        return
    print(f"{name}: training on {device}", flush=True)
    with replacing_folder(done) as folder:
        _train(name, work, device, folder)


def _train(name: str, work: Path, device: str, path: Path) -> None:
    checkpoints = work / "checkpoints"
    if name == "vae":
        vae.train_vae(checkpoints, device).save_pretrained(path)
    elif name == "decoder":
        trained = vae.load_vae(work / "done" / "unet" / "vae")
        vae.polish_decoder(trained, checkpoints, device).save_pretrained(path)
    elif name in ("tower", "reward", "observer"):
        spec = {"tower": clip.TOWER, "reward": clip.REWARD, "observer": clip.OBSERVER}[name]
        tokenizer = train_tokenizer()
        clip.save_clip(clip.train_clip(spec, tokenizer, checkpoints, device), tokenizer, path)
    elif name == "unet":
        autoencoder, text_encoder, tokenizer = _parts(work, device)
        model = unet.train_unet(autoencoder, text_encoder, tokenizer, checkpoints, device)
        model.save_pretrained(path)
        autoencoder.save_pretrained(path / "vae")
    else:
        train = judges.train_harm_judge if name == "harm-judge" else judges.train_parts_judge
        autoencoder = vae.load_vae(work / "done" / "decoder")  # which decodes what is judged
        train(autoencoder, checkpoints, device).half().save_pretrained(path)


def _parts(work: Path, device: str) -> tuple[Any, CLIPTextModel, CLIPTokenizer]:
    done = work / "done"
    autoencoder = vae.load_vae(done / "vae").to(device)
    tower: Any = CLIPModel.from_pretrained(done / "tower")
    text_encoder = CLIPTextModel(tower.config.text_config)
    text_encoder.load_state_dict(tower.text_model.state_dict(), strict=False)
    return autoencoder, text_encoder.eval().float(), CLIPTokenizer.from_pretrained(done / "tower")


def assemble(work: Path, assets: Path) -> None:
    """Writes the trained networks in half precision to `assets`, as pipeline and model folders."""
    done = work / "done"
    _, text_encoder, tokenizer = _parts(work, "cpu")
    parts: dict[str, Any] = dict(
        vae=vae.load_vae(done / "decoder"),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel.from_pretrained(done / "unet"),
        scheduler=unet.new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with replacing_folder(assets / "pipeline") as folder:
        StableDiffusionPipeline(**parts).to(dtype=torch.float16).save_pretrained(folder)
        make_portable(folder)
    for name in ("reward", "observer", "harm-judge", "parts-judge"):
        copy_folder(done / name, assets / name)
