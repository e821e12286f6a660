"""A trainer on a tiny genuine pipeline, rewarded for bright pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import DTYPES, as_diffuser
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt
from safediffusion.training.trainer import Trainer
from tests.pipelines import FAMILIES, RESOLUTION

PROMPTS = [
    Prompt("a red square", "benign", kind="composition"),
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
        (values.setdefault(section, {}) if section else values)[name] = value
    return RunConfig.model_validate(values)


def teach(diffuser: Diffuser, steps: int = 60) -> None:
    """Make the tiny network a denoiser of a known toy: flat latents, all at +1 or all at -1."""
    torch.manual_seed(0)
    network, process = diffuser.network.requires_grad_(True), diffuser.process
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    cond = diffuser.encode([p.text for p in PROMPTS])
    for _ in range(steps):
        x0 = torch.randint(2, (32, 1, 1, 1)).mul(2).sub(1).float().expand(-1, *diffuser.latent_shape)
        t, e = torch.randint(1000, (32,)), torch.randn(x0.shape)
        x, rows = process.add_noise(x0, e, t), torch.arange(32) % len(cond)
        output = diffuser.predict(x, process.timestep(t), cond[rows], 1.0)
        loss = (process.predicted(output, x, t) - process.target(x0, e, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="session")
def two_modes() -> Callable[[str], dict[str, Tensor]]:
    """Weights of a family's tiny network that denoise two flat latents."""
    known: dict[str, dict[str, Tensor]] = {}

    def weights(family: str) -> dict[str, Tensor]:
        if family not in known:
            diffuser = as_diffuser(FAMILIES[family](), resolution=RESOLUTION)
            teach(diffuser)
            known[family] = diffuser.network.state_dict()
        return known[family]

    return weights


@pytest.fixture
def make_trainer(tmp_path) -> Callable[..., Trainer]:
    """Builds a trainer: folder name, then changes to the small run; family, reward, recognisable, prompts,
    weights."""

    def build(
        name: str = "run",
        reward=brightness,
        recognisable=None,
        network: dict[str, Tensor] | None = None,
        family: str = "sd",
        prompts: Sequence[Prompt] = PROMPTS,
        **changes: Any,
    ) -> Trainer:
        config = small_config(**changes)
        dtype = DTYPES[config.model.dtype]
        diffuser = as_diffuser(FAMILIES[family](), "cpu", dtype, RESOLUTION)
        if network:
            diffuser.network.load_state_dict(network)
        folder = RunFolder(Path(tmp_path) / name)
        return Trainer(config, diffuser, reward, prompts, folder, recognisable=recognisable)

    return build
