import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from safediffusion.world import ASSETS
from safediffusion.world.captions import RELATIONS
from safediffusion.world.networks import unet
from safediffusion.world.networks.clip import judgement_batch, reading_loss, twin_loss
from safediffusion.world.networks.images import augment, break_images, render_batch
from safediffusion.world.networks.loop import Schedule, fit, lr_at
from safediffusion.world.networks.tokenizer import train_tokenizer
from safediffusion.world.networks.vae import LATENTS, load_vae
from safediffusion.world.scenes import random_scene


def _problem():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)

    def loss(rng, step):
        x = torch.from_numpy(rng.standard_normal((8, 3, 3, 3), dtype=np.float32))
        return (model(x) - x.mean((1, 2, 3), keepdim=True)).square().mean()

    return model, loss


def test_an_interrupted_stage_ends_with_the_same_weights(tmp_path):
    schedule = Schedule(steps=12, lr=0.1, seed=3, warmup=2, ema=0.9, checkpoint_every=5)
    model, loss = _problem()
    fit("whole", model, loss, schedule, tmp_path)

    class Cut(Exception):
        pass

    cut, cut_loss = _problem()
    calls = 0

    def failing(rng, step):
        nonlocal calls
        assert step == calls
        calls += 1
        if calls == 8:
            raise Cut
        return cut_loss(rng, step)

    with pytest.raises(Cut):
        fit("cut", cut, failing, schedule, tmp_path)
    assert calls == 8
    again, again_loss = _problem()
    fit("cut", again, again_loss, schedule, tmp_path)
    assert torch.equal(model.weight, again.weight) and torch.equal(model.bias, again.bias)


def test_latents_are_scaled_by_the_mixed_pairs_alone_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(unet, "PAIRS", 200)
    monkeypatch.setattr(unet, "BINDING_PAIRS", 100)
    vae = load_vae(ASSETS / "pipeline/vae")
    latents, captions = unet.cache_latents(vae, tmp_path, "cpu")
    assert latents.shape == (300, *LATENTS) and len(captions) == 300
    assert latents[:200].std() == pytest.approx(unet.DEVIATION, rel=1e-3)
    assert all(" and " in caption or relation_in(caption) for caption in captions[200:])
    kept, again = unet.cache_latents(load_vae(ASSETS / "pipeline/vae"), tmp_path, "cpu")
    assert torch.equal(kept, latents) and again == captions


def relation_in(caption: str) -> bool:
    return any(f" {relation} " in caption for relation in RELATIONS)


def test_a_restart_changes_nothing_before_it_and_begins_the_cosine_again():
    one = Schedule(steps=90, lr=0.2, seed=0, warmup=10)
    two = Schedule(steps=140, lr=0.2, seed=0, warmup=10, restart=(90, 0.1))
    assert [lr_at(one, step) for step in range(90)] == [lr_at(two, step) for step in range(90)]
    second = [lr_at(two, step) for step in range(90, 140)]
    assert second[0] == pytest.approx(0.01) and max(second) == second[9] == pytest.approx(0.1, rel=0.1)
    assert second[9:] == sorted(second[9:], reverse=True) and second[-1] < 0.003


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


def test_a_state_that_holds_its_words_reads_better_than_one_that_does_not():
    torch.manual_seed(0)
    words, ids = torch.randn(30, 90), torch.randint(0, 30, (4, 7))
    real = torch.ones(4, 7, dtype=torch.bool)
    before = torch.roll(ids, 1, 1)
    # The first 90 numbers hold the word itself, the others the word before it.
    states = torch.cat([words[ids], words[before]], -1)
    own, previous = nn.Linear(180, 90, bias=False), nn.Linear(180, 90, bias=False)
    with torch.no_grad():
        own.weight.copy_(torch.cat([torch.eye(90), torch.zeros(90, 90)], 1))
        previous.weight.copy_(torch.cat([torch.zeros(90, 90), torch.eye(90)], 1))
    readers, exchanged = nn.ModuleList([own, previous]), nn.ModuleList([previous, own])
    assert reading_loss(states, ids, real, words, readers) < 1e-3
    assert reading_loss(states, ids, real, words, exchanged) > 10
    real[:, 3:] = False
    wrong = ids.clone()
    wrong[:, 3:] = 0  # padding is not read
    assert reading_loss(states, wrong, real, words, readers) < 1e-3


def test_twins_that_are_judged_alike_cost_nothing():
    judgements = F.normalize(torch.randn(5, 8), dim=-1)
    twin = F.normalize(torch.randn(3, 8), dim=-1)
    assert twin_loss(torch.cat([twin, twin]), judgements) == 0
    moved = twin_loss(torch.cat([twin, -twin]), judgements)
    assert moved == pytest.approx(float((10 * twin @ judgements.T).square().mean()), rel=1e-5)


def test_the_second_half_of_judged_images_is_as_safe_as_the_first():
    images, judgements, harms = judgement_batch(np.random.default_rng(0), 24)
    assert len(images) == len(judgements) == 24
    assert harms[:12] == harms[12:] and harms.count(None) == 12
