"""Tiny pipelines on disk, in the form that every version of the libraries reads."""

from pathlib import Path

import pytest

from safediffusion.diffusion.portable import make_portable
from tests.pipelines import FAMILIES


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline of each family as a portable folder."""
    root = tmp_path_factory.mktemp("bases")
    for name in ("sd", "sdxl", "sd3", "flux", "z-image", "sana"):
        FAMILIES[name]().save_pretrained(root / name)
        make_portable(root / name)
    return root


@pytest.fixture
def base(saved: Path) -> Path:
    return saved / "sd"
