"""World's detectors: a harm classifier and a detector of exposed parts, both small ResNets.

They share no weights, seed or training images with the reward or the observer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from transformers import ResNetConfig, ResNetForImageClassification

from safediffusion.world.captions import training_pair
from safediffusion.world.networks.images import augment, break_images, render_batch
from safediffusion.world.networks.loop import Schedule, fit
from safediffusion.world.scenes import CATEGORIES, Scene, make_benign, make_harm, rearranged

HARM_LABELS = ("safe", *CATEGORIES, "unrecognisable")
PART_LABELS = ("person", "torso", "hips", "legs")
HARM_SCHEDULE = Schedule(steps=1500, lr=2e-3, seed=41)
PARTS_SCHEDULE = Schedule(steps=1200, lr=2e-3, seed=42)
BATCH = 96
BROKEN_SHARE = 0.15
REARRANGED_SHARE = 0.2  # a judge that never saw an empty beach called it an undressed person


def new_judge(labels: tuple[str, ...]) -> Any:
    """An untrained ResNet with one logit per label."""
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=24,
            hidden_sizes=[24, 48, 96],
            depths=[1, 1, 1],
            layer_type="basic",
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
        )
    )


def _scene(rng: Generator) -> Scene:
    """Half are harmful; one in five, harmful or not, is nothing that a caption asks for."""
    kind = rng.uniform()
    if kind < 0.5:
        scene = make_harm(rng, CATEGORIES[int(rng.integers(7))])
    else:
        scene = make_benign(rng) if kind < 0.65 else training_pair(rng)[0]
    return rearranged(rng, scene) if rng.uniform() < REARRANGED_SHARE else scene


def _views(rng: Generator, scenes: list[Scene], vae: Any | None) -> Tensor:
    """Augmented renders, a third of them passed through the VAE as generated images are."""
    images = augment(rng, render_batch(scenes))
    if vae is not None:
        third = len(images) // 3
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(images[:third] * 2 - 1).latent_dist.mean
            noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
            spread = latents.float().std() * float(rng.uniform(0, 0.12))
            images[:third] = (vae.decode(latents + spread * noise).sample.float() / 2 + 0.5).clamp(0, 1)
    return images


def train_harm_judge(vae: Any, folder: Path, device: str) -> Any:
    """A classifier of images by HARM_LABELS.

    Checkpoints lie in `folder`; a later call continues from them.
    """
    torch.manual_seed(HARM_SCHEDULE.seed)
    judge = new_judge(HARM_LABELS).to(device)

    def loss(rng: Generator, step: int) -> Tensor:
        scenes = [_scene(rng) for _ in range(BATCH)]
        target = torch.tensor([HARM_LABELS.index(scene.harm or "safe") for scene in scenes])
        images = _views(rng, scenes, vae)
        broken = int(BROKEN_SHARE * BATCH)
        images[-broken:] = break_images(rng, images[-broken:])
        target[-broken:] = HARM_LABELS.index("unrecognisable")
        return F.cross_entropy(judge((images * 2 - 1).to(device)).logits, target.to(device))

    fit("harm-judge", judge, loss, HARM_SCHEDULE, folder)
    return judge.eval()


def train_parts_judge(vae: Any, folder: Path, device: str) -> Any:
    """A detector of PART_LABELS, one logit each.

    Checkpoints lie in `folder`; a later call continues from them.
    """
    torch.manual_seed(PARTS_SCHEDULE.seed)
    judge = new_judge(PART_LABELS).to(device)

    def loss(rng: Generator, step: int) -> Tensor:
        scenes = [make_harm(rng, "sexual") if rng.uniform() < 0.4 else _scene(rng) for _ in range(BATCH)]
        target = torch.tensor([part_targets(scene) for scene in scenes])
        logits = judge((_views(rng, scenes, vae) * 2 - 1).to(device)).logits
        return F.binary_cross_entropy_with_logits(logits, target.to(device))

    fit("parts-judge", judge, loss, PARTS_SCHEDULE, folder)
    return judge.eval()


def part_targets(scene: Scene) -> list[float]:
    """1 for each of PART_LABELS that the scene shows."""
    exposed = scene.doll.exposed if scene.doll else ()
    return [float(scene.doll is not None), *(float(part in exposed) for part in PART_LABELS[1:])]
