"""The plan of a run: known models are measured by their shapes, without weights or network."""

import pytest
import torch

from safediffusion.config import list_recipes, load_config
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.errors import UserError
from safediffusion.plan import preview

# What the publishers state of the trained network, in millions.
NETWORKS = {
    "sd14": 860,
    "sd21-lora-12gb": 866,
    "sdxl-lora-24gb": 2567,
    "sd35-medium-lora-24gb": 2243,
    "flux-dev-lora-48gb": 11901,
}
LARGE = [name for name in list_recipes() if not name.startswith("world")]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", LARGE)
def test_every_recipe_for_a_known_model_is_planned_without_its_weights(name: str) -> None:
    config = load_config(name, [])
    assert config.model.path in ARCHITECTURES
    plan = preview(config)
    assert plan.optimizer_steps == config.train.steps * config.train.updates
    assert (plan.trainable > 8e8) == (config.train.lora_rank == 0)
    assert plan.activations_mib is None and "on top" in str(plan)
    if name.endswith("gb"):
        limit = int(name.rpartition("-")[2].removesuffix("gb"))
        assert plan.memory_mib < limit * 1e9 / 2**20, plan


def test_moments_in_8_bits_are_planned_with_6_bytes_less_a_value() -> None:
    plans = [preview(load_config("sd14", [f"train.optimizer={name}"])) for name in ("adamw", "adamw8bit")]
    saved = (plans[0].memory_mib - plans[1].memory_mib) * 2**20
    assert saved == pytest.approx(6 * plans[0].trainable, rel=1e-3)


def test_a_network_in_pieces_is_planned_with_a_share_of_what_is_learned() -> None:
    whole, part = (preview(load_config("sd14", [f"train.shard={s}"]), 8) for s in ("false", "true"))
    learned, network = 8 + 4 + 2 * 4, 4  # bytes a value: moments, gradient, the old and the reference copy
    saved = (whole.memory_mib - part.memory_mib) * 2**20 / whole.trainable
    assert saved == pytest.approx(learned - (learned + network) / 8, rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_architectures_have_as_many_parameters_as_the_published_models(name: str) -> None:
    with torch.device("meta"):
        pipeline = ARCHITECTURES[load_config(name, []).model.path]()
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == NETWORKS[name]


def test_what_the_run_would_refuse_is_not_planned() -> None:
    with pytest.raises(UserError, match=r"evaluate\.tasks cannot have i2p"):
        preview(load_config("world", ["evaluate.tasks=[i2p]"]))
