"""The shipped networks: their bar on renders, their files, and that judges and reward share nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from safediffusion.evaluation.world_quality import network_bars
from safediffusion.world import ASSETS, asset

NETWORKS = ("pipeline", "reward", "observer", "harm-judge", "parts-judge")


def weights(folder: Path) -> set[bytes]:
    """Every matrix of a network, as bytes."""
    tensors = [t for file in folder.rglob("*.safetensors") for t in load_file(file).values()]
    return {t.contiguous().view(torch.uint8).numpy().tobytes() for t in tensors if t.ndim > 1}


def test_renders_nobody_trained_on_meet_the_bar():
    bars = [bar for bar in network_bars(200) if "seconds" not in bar.name]  # other work slows a test down
    assert not [f"{bar.name}: {bar.value:.3f}" for bar in bars if not bar.met]


def test_files_are_safetensors_and_text():
    suffixes = {file.suffix for file in ASSETS.rglob("*") if file.is_file()}
    assert suffixes <= {".safetensors", ".json", ".txt"}


@pytest.mark.parametrize("name", NETWORKS[1:])
def test_no_weights_are_shared(name: str):
    others = set[bytes]().union(*(weights(asset(other)) for other in NETWORKS if other != name))
    assert weights(asset(name)).isdisjoint(others)
