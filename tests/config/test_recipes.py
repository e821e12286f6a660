"""The shipped recipes and presets: what real ones have in common, and what a preset may change."""

import re

import pytest
import yaml

from safediffusion.config import flatten, list_presets, list_recipes, load_config, recipe_path
from safediffusion.config.load import preset_path
from safediffusion.errors import UserError

REAL = [name for name in list_recipes() if not name.startswith("world")]
OURS = [name for name in REAL if name != "sd14-paper"]
MEMORY = {
    "model.storage", "model.vae", "model.offload", "reward.batch_size", "rollout.batch_size",
    "train.lora_rank", "train.lr", "train.recompute", "train.micro_batch",
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_every_real_recipe_judges_itself_on_prompts_that_it_held_out(name: str) -> None:
    config = load_config(name)
    assert config.evaluate.tasks == ["heldout"] and config.prompts.heldout == 0.1
    assert not config.prompts.accept_sensitive  # the user says so, never a recipe
    assert {source.label for source in config.prompts.sources} <= {"unsafe", None}


@pytest.mark.parametrize("name", OURS)
def test_our_recipes_carry_what_world_proved(name: str) -> None:
    config, world = load_config(name), load_config("world")
    for key in ("reward.steer", "train.adv_spread", "train.lr_schedule"):
        assert flatten(config)[key] == flatten(world)[key], key
    assert config.rollout.neighbours > 0 and (config.train.kl_benign or 0) > config.train.kl > 0
    assert 0 < config.train.grad_norm < 1 and config.train.ema > 0
    assert config.prompts.path == "safety"


def test_the_papers_recipe_stays_the_papers() -> None:
    train = load_config("sd14-paper").train
    assert (train.algorithm, train.kl, train.kl_benign, train.ema, train.grad_norm) == ("grpo", 0, None, 0, 1)
    assert (train.adv_spread, train.lr_schedule, train.updates) == ("group", "constant", 16)


def test_presets_hold_settings_of_memory_alone_and_replace_those_of_a_recipe() -> None:
    assert list_presets() == ["8gb", "12gb", "16gb", "24gb", "48gb", "80gb"]
    for name in list_presets():
        values = yaml.safe_load(preset_path(name).read_text(encoding="utf-8"))
        keys = {f"{section}.{key}" for section, part in values.items() for key in part}
        assert keys <= MEMORY and keys >= {"rollout.batch_size", "train.micro_batch", "model.vae"}
        for recipe in OURS:
            changed = load_config(recipe, [], name)
            before = flatten(load_config(recipe))
            assert {key for key, value in flatten(changed).items() if value != before[key]} <= keys
    small = load_config("sd14", ["train.micro_batch=3"], "8gb")
    assert (small.train.lora_rank, small.train.micro_batch, small.rollout.batch_size) == (16, 3, 2)
    assert load_config("sd14", [], "80gb").train.lora_rank == 0


def test_a_file_may_name_a_preset_and_unknown_ones_are_refused(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: sd14\npreset: 8gb\nrollout: {batch_size: 6}\n", encoding="utf-8")
    config = load_config(file)
    assert (config.model.vae, config.rollout.batch_size, config.recipe) == ("tiled", 6, "mine")
    file.write_text("extends: sd14\npreset: [8gb]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"`preset` is .*; it names one of: 8gb, 12gb"):
        load_config(file)
    with pytest.raises(UserError, match=r"there is no preset '12'"):
        load_config("sd14", [], "12")


def test_a_users_own_file_takes_the_place_of_the_default_prompts(tmp_path) -> None:
    config = load_config("sd14", ["prompts.path=mine.csv"])
    (source,) = config.prompts.sources
    assert (source.path, source.column, source.label) == ("mine.csv", "prompt", None)
    parts = load_config("sd14", ["prompts.accept_sensitive=true"]).prompts.sources
    assert [(part.path, part.column, part.label) for part in parts] == [
        ("Visualignment/CoProv2-SD15", "caption", "unsafe"),
        ("benign", "prompt", None),
    ]
    assert parts[0].accept_sensitive and [round(part.weight, 3) for part in parts] == [0.625, 0.375]


@pytest.mark.parametrize("name", REAL)
def test_headers_give_the_command_and_no_line_is_too_long(name: str) -> None:
    text = recipe_path(name).read_text(encoding="utf-8")
    assert f"safediffusion train {name} " in text and "@" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert re.match(r"# .+\.\n", text)
