"""Recipes, files and key=value words become one validated configuration, or one readable error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safediffusion.config import (
    RunConfig,
    diff,
    dotted_keys,
    dump,
    list_recipes,
    load_config,
    load_run_config,
)
from safediffusion.errors import UserError


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_valid_and_says_how_to_run_it(name: str) -> None:
    config = load_config(name, [])
    text = (Path(__file__).parents[2] / "src/safediffusion/config/recipes" / f"{name}.yaml").read_text(
        encoding="utf-8"
    )
    assert config.recipe == name
    assert "safediffusion train" in text.split("\n\n")[0]


def test_no_recipe_means_world() -> None:
    assert load_config(None, []) == load_config("world", [])


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: world\nreward:\n  alpha: 0.3\ntrain:\n  lr: 1e-5\n", encoding="utf-8")
    config = load_config(file, ["reward.alpha=0.9"])
    assert (config.recipe, config.reward.alpha, config.train.lr) == ("mine", 0.9, 1e-5)
    assert config.train.updates == load_config("world", []).train.updates


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("reward.alhpa=0.7", "reward.alhpa is not a setting; did you mean reward.alpha?"),
        ("alpha=0.7", "did you mean reward.alpha?"),
        ("rollout.groupsize=4", "did you mean rollout.group_size?"),
        ("reward.alpha=-0.1", "reward.alpha=-0.1 is not accepted"),
        ("reward.alpha=much", "reward.alpha='much' is not accepted"),
        ("rollout.group_size=1", "greater than or equal to 2"),
        ("train.lr=.nan", "finite"),
        ("train.steps=1.5", "valid integer"),
        ("reward=3", "reward is a group of settings"),
        ("alpha", "write it as key=value"),
        ("reward.alpha=${nothing}", "nothing"),
    ],
)
def test_a_bad_word_is_refused_in_one_line(word: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("world", [word])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_window_longer_than_the_rollout_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.window"):
        load_config("world-grpo", ["train.window=17"])


@pytest.mark.parametrize(
    "words",
    [
        ["rollout.branches=5", "train.window=2"],
        ["rollout.branches=12", "train.window=2"],
    ],
    ids=["no divisor", "one each"],
)
def test_branches_that_compare_nothing_are_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"rollout\.branches"):
        load_config("world-grpo", words)
    assert load_config("world-grpo", ["rollout.branches=3", "train.window=2"]).compared == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["train.kl_kinds=[composition]", "train.kl_benign=null"],
            r"kl_benign.*null.*set train\.kl_benign=1",
        ),
        (["train.lora_targets=[attn2.to_k]", "train.lora_rank=0"], r"set train\.lora_rank=16"),
        (["prompts.anchors=1", "reward.kind=clip"], r"reward\.kind=clip does not read.*prompts\.anchors=0"),
    ],
)
def test_a_setting_without_what_it_is_about_is_refused(words, reason):
    with pytest.raises(UserError, match=reason):
        load_config("world", words)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean world-nudity"):
        load_config("world-nudty", [])


@pytest.mark.parametrize("text", ["- a\n", "reward: [\n", "extends: FILE\n"])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text.replace("FILE", str(file)), encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.yaml"):
        load_config(file, [])


@given(st.floats(0, 10), st.integers(2, 64), st.sampled_from(["nft", "grpo"]))
def test_dump_reads_back_as_the_same_run(tmp_path_factory, alpha: float, group: int, algorithm: str) -> None:
    words = [f"reward.alpha={alpha}", f"rollout.group_size={group}", f"train.algorithm={algorithm}"]
    config = load_config("world", words)
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert load_run_config(path) == config


def test_diff_names_dotted_keys() -> None:
    a = load_config("world", [])
    assert diff(a, load_config("world", ["reward.alpha=0.7", "seed=3"])) == ["seed", "reward.alpha"]


def test_every_setting_is_described() -> None:
    sections = [RunConfig, *(field.annotation for field in RunConfig.model_fields.values())]
    for section in sections:
        for name, field in getattr(section, "model_fields", {}).items():
            is_section = hasattr(field.annotation, "model_fields")
            assert field.description or is_section, f"{name} has no description"
    assert "rollout.group_size" in dotted_keys()
