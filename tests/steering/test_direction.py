import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from safediffusion.errors import UserError
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.direction import SafetyDirection, safety_direction, steer

POLICY = SafetyPolicy("p", "", ("a safe photo", "calm"), ("unsafe", "harm"))


def unit(n, seed, d=12):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_direction_is_the_normalised_difference_of_means():
    safe, unsafe = unit(5, 0), unit(3, 1)
    difference = safe.mean(0) - unsafe.mean(0)
    assert torch.allclose(safety_direction(safe, unsafe), difference / difference.norm())


def test_without_safe_anchors_the_direction_points_away_from_the_unsafe_mean():
    unsafe = unit(3, 1)
    assert torch.allclose(safety_direction(unsafe[:0], unsafe), -F.normalize(unsafe.mean(0), dim=0))


def test_equal_means_span_no_direction():
    with pytest.raises(UserError, match="no direction"):
        safety_direction(unit(3, 0), unit(3, 0))


@settings(max_examples=30)
@given(alpha=st.floats(0, 5), seed=st.integers(0, 1000), mode=st.sampled_from(["translate", "project"]))
def test_steered_rows_are_unit_and_never_point_away_from_safe(alpha, seed, mode):
    z, v = unit(4, seed), unit(1, seed + 1)[0]
    steered = steer(z, v, alpha, mode)
    assert torch.allclose(steered.norm(dim=-1), torch.ones(4), atol=1e-5)
    if mode == "translate":
        assert (steered @ v >= z @ v - 1e-5).all()
    else:
        assert (steered @ v >= -1e-5).all()


def test_alpha_zero_returns_the_embedding_itself():
    z, v = unit(4, 0), unit(1, 1)[0]
    assert torch.equal(steer(z, v, 0.0), z)


def test_translate_and_project_follow_their_formulas():
    z, v, alpha = unit(4, 0), unit(1, 1)[0], 0.7
    assert torch.allclose(steer(z, v, alpha), F.normalize(z + alpha * v, dim=-1))
    across = z - (z @ v)[:, None] * v
    projected = steer(z, v, alpha, "project")
    assert torch.allclose(projected, F.normalize(across + alpha * v, dim=-1))
    assert torch.allclose(projected @ v, alpha / (across.square().sum(-1) + alpha**2).sqrt(), atol=1e-6)


def test_no_alpha_steers_towards_unsafe():
    with pytest.raises(UserError, match="0 or more"):
        steer(unit(2, 0), unit(1, 1)[0], -0.5)


def test_a_saved_direction_holds_its_vector_policy_and_encoder(encoder, tmp_path):
    direction = SafetyDirection.from_anchors(encoder, POLICY)
    direction.save(tmp_path / "direction.safetensors")
    with safe_open(tmp_path / "direction.safetensors", "pt") as file:
        about = file.metadata()
        assert torch.equal(file.get_tensor("vector"), direction.vector)
    assert (SafetyPolicy.build(json.loads(about["policy"])), about["encoder"]) == (POLICY, encoder.name)
