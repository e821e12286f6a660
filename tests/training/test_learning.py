"""What each algorithm of the forward process learns: images with a higher reward become more likely."""

import pytest
import torch

from safediffusion.training.algorithms import ALGORITHMS
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
