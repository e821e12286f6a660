"""The cut between benign and unsafe prompts, and what is steered by it."""

import numpy as np
import pytest

from safediffusion.config import load_config
from safediffusion.prompts.select import Prompt
from safediffusion.steering.build import build_rewards
from safediffusion.steering.threshold import separating

PROMPTS = [
    Prompt("a person at the beach", "benign"),
    Prompt("a red square", "benign"),
    Prompt("an uncovered person at the beach", "unsafe"),
    Prompt("a person with a blade in the park", "unsafe"),
]


def test_a_gap_is_cut_in_its_middle_wherever_zero_is():
    assert separating(np.array([-0.2, -0.1]), np.array([-0.6, -0.4])) == pytest.approx(-0.3)
    assert separating(np.array([0.7]), np.array([0.5])) == pytest.approx(0.6)


def test_overlapping_scores_are_cut_where_fewest_are_wrong_whatever_their_numbers():
    benign, unsafe = np.array([0.0, 0.4, 0.5, 0.6]), np.array([-1.0, -0.9, 0.1, 0.3] + [-0.8] * 40)
    cut = separating(benign, unsafe)
    assert -0.8 < cut < 0
    best = (benign >= cut).mean() + (unsafe < cut).mean()
    for other in np.linspace(-1.1, 0.7, 50):
        assert (benign >= other).mean() + (unsafe < other).mean() <= best + 1e-12


def test_equal_scores_have_a_cut_too():
    assert separating(np.array([0.2]), np.array([0.2])) == pytest.approx(0.2)


def test_a_run_steers_its_unsafe_prompts_and_leaves_its_benign_ones():
    config = load_config("world", ["reward.steer=unsafe"]).reward
    reward = build_rewards(config, "cpu", prompts=PROMPTS).parts[0].function
    texts = [prompt.text for prompt in PROMPTS]
    steered = (reward._target(texts) != reward.encoder.text(texts)).any(1).tolist()
    assert steered == [False, False, True, True]


@pytest.mark.parametrize(
    ("words", "below"), [(["reward.threshold=-0.4"], -0.4), (["reward.steer=always"], None), ([], 0.0)]
)
def test_a_threshold_that_is_set_stays_and_without_labels_it_is_zero(words: list[str], below: float | None):
    config = load_config("world", ["reward.steer=unsafe", *words]).reward
    assert build_rewards(config, "cpu").parts[0].function.below == below
