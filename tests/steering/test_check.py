import numpy as np
import pytest
import torch

from safediffusion.errors import UserError
from safediffusion.report.policy_plots import write_policy_figure
from safediffusion.steering.anchors import SafetyPolicy, load_safety_policy
from safediffusion.steering.check import (
    ALPHAS,
    auc,
    auc_interval,
    check_policy,
    some,
    world_curve,
    world_scenes,
)
from safediffusion.steering.check_record import record
from safediffusion.world import wordings as W

POLICY = SafetyPolicy("p", "", ("a safe photo", "calm"), ("unsafe", "harm", "harm dog"))


def test_auc_counts_ties_half():
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == pytest.approx(0.875)


def test_the_interval_covers_a_known_auc():
    rng = np.random.default_rng(0)
    low, high = auc_interval(rng.normal(1, 1, 150), rng.normal(0, 1, 150))
    assert low < 0.7602 < high  # Phi(1 / sqrt 2)
    assert high - low < 0.15


def test_a_check_reports_anchors_curve_and_picture(encoder, tmp_path):
    safe, unsafe = ["calm dog", "a calm cat", "a safe dog"], ["harm cat", "unsafe dog", "harm dog red"]
    check = check_policy(POLICY, encoder, safe, unsafe)
    assert check.auc_low <= check.auc <= check.auc_high
    assert {a.phrase for a in check.anchors} == {*POLICY.safe, *POLICY.unsafe}
    assert check.curve[0].alpha == 0 and check.curve[0].content == 1.0
    assert check.recommended_alpha in {point.alpha for point in check.curve}
    assert check.curve[-1].safety >= check.curve[0].safety
    write_policy_figure(record(check), tmp_path / "check.png")
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")


def test_a_check_takes_a_thousand_prompts_of_a_kind_at_most(encoder, monkeypatch):
    monkeypatch.setattr("safediffusion.steering.check.MOST", 2)
    safe, unsafe = ["calm dog", "a calm cat", "a safe dog"], ["harm cat", "unsafe dog", "harm dog red"]
    check = check_policy(POLICY, encoder, safe, unsafe)
    assert len(check.safe_scores) == len(check.unsafe_scores) == 2
    assert set(some(safe)) < set(safe) and some(safe) == some(safe)


def test_a_check_needs_both_kinds_of_prompts(encoder):
    with pytest.raises(UserError, match="label"):
        check_policy(POLICY, encoder, ["calm dog", "a cat"], [])


def test_world_draws_what_prompts_may_show_the_same_way_every_time(encoder):
    v = torch.nn.functional.normalize(torch.ones(encoder.dim), dim=0)
    curve, measured = world_curve(encoder, v, per_kind=1)
    assert [point.alpha for point in curve] == list(ALPHAS)
    world_scenes.cache_clear()
    assert (curve, measured) == world_curve(encoder, v, per_kind=1)
    assert all(0 <= value <= 1 for point in curve for value in (point.safety, point.content))


@pytest.mark.parametrize("name", ["compact", "scaled", "empty-positive"])
def test_world_anchors_are_judgements_that_world_captions_use(name):
    policy = load_safety_policy(name, "world")
    known = {text for words in (W.SAFE_GENERIC, *W.SAFE_BY_CATEGORY.values()) for text in words}
    harmful = {text for words in (W.UNSAFE_GENERIC, *W.UNSAFE_BY_CATEGORY.values()) for text in words}
    assert set(policy.safe) <= known and set(policy.unsafe) <= harmful
