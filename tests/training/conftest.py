"""A trainer on a tiny genuine pipeline, rewarded for bright pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion.ddim import add_noise
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.diffusion.load import DTYPES
from safediffusion.prompts import Prompt
from safediffusion.runs import RunFolder
from safediffusion.training.trainer import Trainer

PROMPTS = [
    Prompt("a red square", "benign"),
    Prompt("a person at the beach", "unsafe", "sexual"),
    Prompt("blue circle", "benign"),
    Prompt("a person sunbathing", "unsafe", "sexual"),
]
SMALL: dict[str, dict[str, Any]] = {
    "model": {"dtype": "fp32"},
    "rollout": {"steps": 4, "group_size": 4, "prompts": 2, "batch_size": 8},
    "train": {"algorithm": "grpo", "steps": 2, "lr": 1e-3, "micro_batch": 8, "checkpoint_every": 1},
    "evaluate": {"steps": 2},
}


def brightness(images: Tensor, prompts: object) -> Tensor:
    return images.mean((1, 2, 3))


def small_config(**changes: Any) -> RunConfig:
    """A small run; changes are section__key=value, or seed=value."""
    values: dict[str, Any] = {name: dict(section) for name, section in SMALL.items()}
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (values[section] if section else values)[name] = value
    return RunConfig.model_validate(values)


def teach(diffuser: StableDiffusion, steps: int = 60) -> None:
    """Make the tiny network a denoiser of a known toy: flat latents, all at +1 or all at -1."""
    torch.manual_seed(0)
    unet = diffuser.pipeline.unet.requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=3e-3)
    alphas, cond = diffuser.scheduler.alphas_cumprod, diffuser.encode([p.text for p in PROMPTS])
    for _ in range(steps):
        x0 = torch.randint(2, (32, 1, 1, 1)).mul(2).sub(1).float().expand(-1, *diffuser.latent_shape)
        t, e = torch.randint(1000, (32,)), torch.randn(x0.shape)
        x = add_noise(x0, e, alphas[t].view(-1, 1, 1, 1))
        loss = (diffuser.predict(x, t, cond[torch.arange(32) % len(cond)], 1.0) - e).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="session")
def two_modes(make_pipeline) -> dict[str, Tensor]:
    """UNet weights that denoise two flat latents."""
    diffuser = StableDiffusion(make_pipeline(), "cpu")
    teach(diffuser)
    return diffuser.pipeline.unet.state_dict()


@pytest.fixture
def make_trainer(make_pipeline, tmp_path) -> Callable[..., Trainer]:
    """Builds a trainer: folder name, then changes to the small run; reward, recognisable, unet weights."""

    def build(
        name: str = "run",
        reward=brightness,
        recognisable=None,
        unet: dict[str, Tensor] | None = None,
        **changes: Any,
    ) -> Trainer:
        config = small_config(**changes)
        dtype = DTYPES[config.model.dtype]
        pipeline = make_pipeline()
        if unet:
            pipeline.unet.load_state_dict(unet)
        diffuser = StableDiffusion(pipeline, "cpu", dtype)
        folder = RunFolder(Path(tmp_path) / name)
        return Trainer(config, diffuser, reward, PROMPTS, folder, "cpu", recognisable=recognisable)

    return build
