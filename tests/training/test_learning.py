"""What each algorithm of the forward process learns: images with a higher reward become more likely."""

import pytest
import torch

from safediffusion.training.algorithms import ALGORITHMS, get_algorithm
from tests.training.learning import likelihoods

FORWARD = [name for name in ALGORITHMS if name != "grpo"]
ADVANTAGES = torch.tensor([1.5, -0.5, -0.5, -0.5, -1.5, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("family", ["sd", "sd-v", "sd3"])
@pytest.mark.parametrize("name", FORWARD)
def test_the_better_image_of_a_group_becomes_likelier_than_the_worse(make_trainer, name, family):
    """By its own noise; with the rewards exchanged, the other way round."""
    gains = []
    for i, advantages in enumerate((ADVANTAGES, -ADVANTAGES)):
        trainer = make_trainer(
            f"{i}",
            family=family,
            train__algorithm=name,
            train__lr=1e-4,
            train__updates=8,
            train__dpo_beta=50.0,
        )
        before = likelihoods(trainer)
        trainer.algorithm.update(trainer.groups(0).batch, advantages)
        gains.append(likelihoods(trainer) - before)
    for group in (slice(0, 4), slice(4, 8)):
        best, worst = ADVANTAGES[group].argmax(), ADVANTAGES[group].argmin()
        up, down = (gain[group][best] - gain[group][worst] for gain in gains)
        assert up > down


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_a_plan_counts_the_passes_that_an_update_makes(make_trainer, name, kl):
    trainer = make_trainer(train__algorithm=name, train__kl=kl, train__updates=2)
    work = get_algorithm(name).update_work(trainer.config, 8)
    assert trainer.round()["passes"] == {
        "forward": 8 * 4 * 2 + work.rows * (1 + work.extra_passes),  # guided sampling, four steps
        "backward": work.rows,
    }
