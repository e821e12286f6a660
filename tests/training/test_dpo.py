"""DPO on the best and the worst image of a group."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from safediffusion.config import load_config
from safediffusion.config.inputs import PromptsConfig
from safediffusion.diffusion.image_latents import image_latents
from safediffusion.errors import UserError
from safediffusion.prompts.select import Prompt, load_prompts
from safediffusion.run.preflight import check_labels
from safediffusion.training.algorithms.dpo import best_and_worst, dpo_loss
from tests.training.conftest import PROMPTS
from tests.training.learning import gradient, likelihoods


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_the_best_and_the_worst_are_told_apart_beyond_the_clip(make_trainer, name):
    scores = torch.tensor([3.0, 9.0, -9.0, -3.0, 0.0, 0.1, 0.0, 0.1])
    trainer = make_trainer(
        reward=lambda images, prompts: scores, train__algorithm=name, train__adv_clip=1.0,
        train__adv_spread="round", rollout__group_size=4,
    )  # fmt: skip
    given = []
    update = trainer.algorithm.update
    trainer.algorithm.update = lambda batch, advantages: given.append(advantages) or update(batch, advantages)
    trainer.round()
    assert given[0][:4].argmax() == 1 and given[0][:4].argmin() == 2
    assert given[0].abs().max() > 1 and len(given[0][:4].unique()) == 4


def test_the_loss_is_the_logistic_loss_of_the_implicit_rewards():
    won, lost, beta = torch.tensor([0.2, -0.1, 0.0]), torch.tensor([0.1, 0.3, 0.0]), 20.0
    found = dpo_loss(won, lost, beta)
    by_hand = [-math.log(1 / (1 + math.exp(beta / 2 * (w - v)))) for w, v in zip(won, lost, strict=True)]
    torch.testing.assert_close(found, torch.tensor(by_hand))
    assert dpo_loss(torch.tensor([1e3]), torch.tensor([0.0]), 5000.0).isfinite()


def test_the_pair_of_a_group_is_its_best_and_its_worst_image():
    advantages = torch.tensor([0.1, -2.0, 1.0, 0.9, 3.0, 2.0, -5.0, 0.0])
    assert best_and_worst(advantages, 4).tolist() == [2, 1, 4, 6]


@pytest.mark.parametrize("family", ["sd", "sd-v", "sd3"])
@pytest.mark.parametrize("rank", [0, 4])
def test_loss_at_the_reference_model_is_log_two(make_trainer, family, rank):
    trainer = make_trainer(
        family=family,
        train__algorithm="dpo",
        train__lora_rank=rank,
        train__micro_batch=2,
        train__dpo_beta=50.0,
    )
    assert trainer.round()["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert trainer.round()["loss"] != pytest.approx(math.log(2), abs=1e-6)


def test_gradient_at_the_reference_model_is_a_quarter_of_beta_times_the_difference_of_errors(make_trainer):
    beta = 40.0
    trainer = make_trainer(train__algorithm="dpo", train__dpo_beta=beta)
    advantages = torch.tensor([-1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found, noised = gradient(trainer, advantages)
    rows = torch.tensor([2, 0])
    assert torch.equal(noised.t[0], noised.t[1])
    e = noised.target  # of a noise network
    assert torch.equal(e[0], e[1])
    clean = trainer.algorithm.clean[rows]
    torch.testing.assert_close(noised.x[:2], trainer.algorithm.process.add_noise(clean, e[:2], noised.t[:2]))
    error = (trainer.algorithm.predict(noised) - noised.target).square().flatten(1).mean(1)
    # the second group has equal rewards: no pair, though it counts in the mean over two
    (beta / 4 * (error[0] - error[1]) / 2).backward()
    for p, g in zip(trainer.learner.parameters, found, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-3, atol=1e-7)


def test_the_old_copy_stays_the_reference_model(make_trainer):
    trainer = make_trainer(train__algorithm="dpo", train__updates=2)
    before = [p.detach().clone() for p in trainer.learner.parameters]
    for _ in range(2):
        trainer.round()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.learner.old, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, trainer.learner.parameters, strict=True))


def test_two_images_of_a_group_pass_through_the_network(make_trainer):
    passes = make_trainer(train__algorithm="dpo", train__updates=3).round()["passes"]
    assert passes["backward"] == 3 * 2 * 2
    assert passes["forward"] == 8 * 4 * 2 + 2 * 3 * 2 * 2  # sampling, then reference and policy


def test_a_micro_batch_that_splits_a_pair_is_refused(make_trainer):
    with pytest.raises(UserError, match=r"micro_batch is 5.*set train\.micro_batch=6"):
        make_trainer(train__algorithm="dpo", train__micro_batch=5)


@pytest.fixture
def given(tmp_path: Path) -> list[Prompt]:
    """The small run's prompts, each with a pair of images: bright is preferred."""
    prompts = []
    for i, prompt in enumerate(PROMPTS):
        pair = (tmp_path / f"chosen-{i}.png", tmp_path / f"rejected-{i}.png")
        for path, grey in zip(pair, (230 - i, 20 + i), strict=True):
            Image.new("RGB", (50, 40), (grey, grey, grey)).save(path)
        prompts.append(replace(prompt, pair=pair))
    return prompts


ON_PAIRS = {"train__algorithm": "dpo", "train__dpo_pairs": "given", "rollout__group_size": 2}


def test_given_pairs_are_learnt_from_whatever_the_reward_says(make_trainer: Callable, given: list[Prompt]):
    """The reward prefers dark images here, the pairs bright ones."""
    trainer = make_trainer(
        **ON_PAIRS,
        prompts=given,
        reward=lambda images, texts: -images.mean((1, 2, 3)),
        train__dpo_beta=50.0,
        train__updates=8,
        rollout__prompts=4,
    )
    first = likelihoods(trainer).view(-1, 2)
    row = trainer.round()
    assert row["passes"]["forward"] == 2 * 8 * 8  # reference and policy, nothing is sampled
    assert row["reward_mean"] < 0
    gain = likelihoods(trainer).view(-1, 2) - first
    assert (gain[:, 0] > gain[:, 1]).all()


def test_given_images_become_latents_in_the_order_of_their_rows(make_trainer: Callable, given: list[Prompt]):
    trainer = make_trainer(**ON_PAIRS, prompts=given)
    batch = trainer.groups(0).batch
    files = [given[i].pair[member] for i, member in batch.keys]
    assert list(batch.given) == files
    assert torch.equal(trainer.algorithm.sample(batch), image_latents(trainer.diffuser, files))


def test_a_table_names_pairs_beside_itself_and_one_prompt_may_have_several(tmp_path: Path):
    table = tmp_path / "pairs.csv"
    table.write_text("prompt,chosen,rejected\na,x.png,y.png\na,z.png,y.png\na,z.png,y.png\nb,,\n")
    found = load_prompts(PromptsConfig(path=str(table)))
    assert [row.pair for row in found.rows] == [
        (tmp_path / "x.png", tmp_path / "y.png"),
        (tmp_path / "z.png", tmp_path / "y.png"),
        None,
    ]
    assert found.repeated == 1
    table.write_text("prompt,chosen,rejected\na,x.png,\n")
    with pytest.raises(UserError, match="line 2: a pair needs both"):
        load_prompts(PromptsConfig(path=str(table)))


def test_a_run_on_pairs_needs_them_and_their_files(tmp_path: Path, given: list[Prompt]):
    words = ["train.algorithm=dpo", "train.dpo_pairs=given", "rollout.group_size=2", "rollout.neighbours=0"]
    config = load_config("world", words)
    check_labels(config, given)
    with pytest.raises(UserError, match=r"has none; give prompts\.path a table"):
        check_labels(config, [*given, Prompt("a cat")])
    with pytest.raises(UserError, match=r"gone\.png is not there"):
        check_labels(config, [replace(given[0], pair=(tmp_path / "gone.png",) * 2)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.algorithm=nft"], r"set train\.algorithm=dpo"),
        (["train.algorithm=dpo"], r"set rollout\.group_size=2, rollout\.neighbours=0"),
    ],
)
def test_given_pairs_with_other_settings_are_refused(words: list[str], message: str):
    with pytest.raises(UserError, match=message):
        load_config("world", ["train.dpo_pairs=given", *words])
