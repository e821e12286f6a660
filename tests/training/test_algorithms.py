"""What each algorithm says that it needs, and one that a user adds."""

import pytest

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.run.preflight import check_config
from safediffusion.training.algorithms import ALGORITHMS, get_algorithm


def check(recipe: str, words: list[str]) -> None:
    config = load_config(recipe, words)
    check_config(config, [1000] * len(config.prompts.weights))


def test_grpo_refuses_a_deterministic_sampler() -> None:
    with pytest.raises(UserError, match=r"set rollout\.eta=1 or train\.algorithm=nft"):
        check("world-grpo", ["rollout.eta=0"])
    check("world", ["rollout.eta=0"])


def test_optimizer_steps_without_an_image_are_refused_where_each_takes_its_own() -> None:
    few = ["prompts.path=world", "rollout.prompts=1", "rollout.group_size=2", "train.updates=3"]
    with pytest.raises(UserError, match=r"train\.updates=2 or less"):
        check("world-grpo", few)
    check("world", few)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_branches_without_a_window_of_grpo_are_refused(name: str) -> None:
    branched = [f"train.algorithm={name}", "rollout.branches=3"]
    with pytest.raises(UserError, match=r"rollout\.branches"):
        check("world-grpo", branched)
    if name == "grpo":
        check("world-grpo", [*branched, "train.window=2"])
        return
    with pytest.raises(UserError, match=r"rollout\.branches"):
        check("world-grpo", [*branched, "train.window=2"])


def test_recipe_ddpo_has_the_published_size_of_a_round() -> None:
    config = load_config("world-ddpo")
    images, train = config.rollout.prompts * config.rollout.group_size, config.train
    assert (images, images // train.updates, config.rollout.steps, config.rollout.guidance) == (
        256,
        128,
        50,
        5,
    )
    assert get_algorithm(train.algorithm).update_work(config, images).rows == 256 * 50
    assert (train.kl, train.kl_benign, config.rollout.neighbours, train.keeps_reference) == (0, 0, 0, False)
    check("world-ddpo", [])


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("rollout.group_size=1", "greater than or equal to 2"),
        ("train.kl=-1", "greater than or equal to 0"),
        ("train.kl_kinds=[composition] train.kl_benign=null", r"set train\.kl_benign=1"),
        ("rollout.neighbours=0.5 rollout.steered=0.5", r"nothing of a group"),
    ],
)
def test_groups_and_kl_are_checked_whatever_the_algorithm(name: str, setting: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        check("world", [f"train.algorithm={name}", *setting.split()])


@pytest.mark.parametrize("setting", ["dpo_beta", "rwr_temperature"])
def test_a_temperature_of_nothing_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match="greater than 0"):
        check("world", [f"train.{setting}=0"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("grop", "did you mean grpo"),
        ("nowhere:Mine", "cannot be imported"),
        ("safediffusion.training.algorithms.grpo:Missing", "cannot be imported"),
        ("safediffusion.training.algorithms.grpo:grpo_loss", "derive it from"),
    ],
)
def test_what_is_not_an_algorithm_is_refused(name: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        check("world", [f"train.algorithm={name}"])


def test_only_algorithms_without_a_density_may_borrow_images() -> None:
    assert [name for name in ALGORITHMS if get_algorithm(name).needs_density] == ["grpo"]


@pytest.mark.parametrize(
    ("name", "updates", "keeps"),
    [
        ("nft", 1, True),
        ("nft", 2, True),
        ("awm", 1, False),
        ("awm", 2, True),
        ("grpo", 2, False),
        ("pepg", 1, True),
        ("dpo", 1, True),
        ("rwr", 2, False),
        ("sft", 2, False),
    ],
)
def test_an_old_copy_is_kept_where_the_loss_asks_for_it(name: str, updates: int, keeps: bool) -> None:
    config = load_config("world", [f"train.updates={updates}"])
    assert get_algorithm(name).keeps_old_copy(config) is keeps
