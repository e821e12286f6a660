"""Moments in 8 bits and gradients in float16: what they need, and that a resume brings them back."""

import pytest
import torch

from safediffusion.errors import UserError
from safediffusion.training import checkpoint
from safediffusion.training.optimizer import check_optimizer
from tests.training import eight_bits

RESUMED = {"train__steps": 3, "train__checkpoint_every": 1, "train__algorithm": "nft"}


def state(trainer):
    groups = trainer.learner.state()
    return {
        f"{file}/{name}": value.clone() for file, group in groups.items() for name, value in group.items()
    }


def assert_resume_is_exact(make_trainer, **changes):
    """A run cut after its first round and a run in one go end alike, in all that a checkpoint holds."""
    straight = make_trainer("straight", **RESUMED, **changes)
    straight.run()
    cut = make_trainer("cut", **RESUMED, **changes)
    cut.record(cut.round())
    cut.save({})
    resumed = make_trainer("cut", **RESUMED, **changes)
    resumed.run()
    expected, found = state(straight), state(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    return checkpoint.read_tensors(checkpoint.latest(straight.folder.checkpoints))


def test_moments_in_8_bits_are_resumed_bit_for_bit(make_trainer, monkeypatch):
    eight_bits.install(monkeypatch)
    tensors = assert_resume_is_exact(make_trainer, train__optimizer="adamw8bit")["optimizer"]
    maps = [name for name in tensors if name.endswith("/qmap1")]
    assert len(maps) > 1  # shared in memory, of which safetensors would have none
    assert {tensors[name.replace("qmap1", "state1")].dtype for name in maps} == {torch.uint8}


def test_8_bits_without_their_package_name_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr("safediffusion.training.optimizer.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        check_optimizer("adamw8bit", "cuda")
    check_optimizer("adamw", "cuda")


def test_8_bits_are_refused_on_a_cpu(monkeypatch):
    eight_bits.install(monkeypatch)
    with pytest.raises(UserError, match=r"needs a GPU; set train\.optimizer=adamw"):
        check_optimizer("adamw8bit", "cpu")
    check_optimizer("adamw8bit", "cuda")


def test_moments_of_weights_with_channels_last_are_resumed_as_they_lie_in_memory(make_trainer):
    assert_resume_is_exact(make_trainer, train__channels_last=True, train__lora_rank=0)
    resumed = make_trainer("cut", train__channels_last=True, train__lora_rank=0)
    resumed.recorder.resume()
    moments = resumed.learner.optimizer.state
    strides = {(p.stride(), moments[p]["exp_avg"].stride()) for p in resumed.learner.parameters}
    assert all(own == moment for own, moment in strides)
    assert any(not p.is_contiguous() for p in resumed.learner.parameters), "the check above could not fail"


@pytest.mark.parametrize("rank", [0, 4])
def test_the_loss_scale_of_float16_is_resumed_bit_for_bit(make_trainer, rank):
    tensors = assert_resume_is_exact(make_trainer, model__dtype="fp16", train__lora_rank=rank)
    assert tensors["scaler"]["_growth_tracker"] == 3
    assert {value.dtype for value in tensors["weights"].values()} == {torch.float32}


def test_a_float16_gradient_that_overflows_is_dropped_and_the_scale_lowered(make_trainer):
    trainer = make_trainer(model__dtype="fp16")
    scaler = trainer.learner.scaler
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**120})
    before = [p.detach().clone() for p in trainer.learner.parameters]
    row = trainer.round()
    assert row["grad_norm"] == 0 and row["loss_scale"] == 2.0**119
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.learner.parameters, strict=True))
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**10})
    row = trainer.round()
    assert row["grad_norm"] > 0 and row["loss_scale"] == 2.0**10
    assert not all(torch.equal(a, b) for a, b in zip(before, trainer.learner.parameters, strict=True))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_only_float16_scales_its_loss(make_trainer, dtype):
    trainer = make_trainer(model__dtype=dtype)
    assert trainer.round()["loss_scale"] == 1.0 and "scaler" not in trainer.learner.state()


def test_the_scale_of_the_loss_leaves_the_gradient_alone(make_trainer):
    """Within what float16 rounds: without scaling back, norms would differ by the scale."""
    norms = []
    for scale in (2.0**8, 2.0**12):
        trainer = make_trainer(model__dtype="fp16")
        scaler = trainer.learner.scaler
        scaler.load_state_dict(scaler.state_dict() | {"scale": scale})
        norms.append(trainer.round()["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=0.02) and norms[0] > 0
