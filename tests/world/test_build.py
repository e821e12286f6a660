import numpy as np
import pytest
import torch
from torch import nn

from safediffusion.world.networks.images import augment, break_images, render_batch
from safediffusion.world.networks.loop import Schedule, fit
from safediffusion.world.networks.tokenizer import train_tokenizer
from safediffusion.world.scenes import random_scene


def _problem():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(rng):
        x = torch.from_numpy(rng.standard_normal((8, 3), dtype=np.float32))
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return model, loss


def test_an_interrupted_stage_ends_with_the_same_weights(tmp_path):
    schedule = Schedule(steps=12, lr=0.1, seed=3, warmup=2, ema=0.9, checkpoint_every=5)
    model, loss = _problem()
    fit("whole", model, loss, schedule, tmp_path)

    class Cut(Exception):
        pass

    cut, cut_loss = _problem()
    calls = 0

    def failing(rng):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Cut
        return cut_loss(rng)

    with pytest.raises(Cut):
        fit("cut", cut, failing, schedule, tmp_path)
    assert calls == 8
    again, again_loss = _problem()
    fit("cut", again, again_loss, schedule, tmp_path)
    assert torch.equal(model.weight, again.weight) and torch.equal(model.bias, again.bias)


def test_the_tokenizer_keeps_words_whole_and_knows_every_text(tmp_path):
    tokenizer = train_tokenizer()
    ids = tokenizer("a person sunbathing at the beach").input_ids
    assert len(ids) == 8 and ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    odd = tokenizer("Zürich & 12 cats!").input_ids
    assert tokenizer.eos_token_id not in odd[:-1]
    tokenizer.save_pretrained(tmp_path)
    assert (
        type(tokenizer).from_pretrained(tmp_path)("a blue ring").input_ids
        == tokenizer("a blue ring").input_ids
    )


def test_augmentation_is_mild_and_breaking_is_not():
    rng = np.random.default_rng(0)
    images = render_batch([random_scene(rng) for _ in range(64)])
    mild = (augment(rng, images) - images).abs().mean()
    broken = (break_images(rng, images) - images).abs().mean()
    assert 0 < mild < 0.05 < 0.2 < broken
