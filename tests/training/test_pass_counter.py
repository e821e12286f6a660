"""Rows through the network, counted against what the algorithms say they cost; the limit on time."""

import pytest


@pytest.mark.parametrize("kl", [0.0, 0.1])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_nft_samples_with_guidance_and_learns_without(make_trainer, guidance, kl):
    trainer = make_trainer(
        train__algorithm="nft", train__updates=3, train__kl=kl, train__micro_batch=3,
        rollout__guidance=guidance,
    )  # fmt: skip
    images, steps, updates = 8, 4, 3
    sampled = images * steps * (2 if guidance > 1 else 1)
    learned = images * updates * (3 if kl else 2)  # the old copy, the policy, and the reference if wanted
    assert trainer.round()["passes"] == {"forward": sampled + learned, "backward": images * updates}


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_grpo_pays_for_guidance_and_for_every_trained_step(make_trainer, fraction):
    trainer = make_trainer(train__timestep_fraction=fraction)
    images, steps = 8, 4
    rows = 2 * images * round(fraction * steps)
    assert trainer.round()["passes"] == {"forward": 2 * images * steps + rows, "backward": rows}


def test_recomputed_activations_are_no_further_pass(make_trainer):
    plain, thrifty = make_trainer("plain"), make_trainer("thrifty", train__recompute=True)
    assert plain.round()["passes"] == thrifty.round()["passes"]


def test_phases_and_the_rest_are_the_whole_round(make_trainer):
    trainer = make_trainer()
    row = trainer.round()
    assert sum(row["seconds"].values()) == pytest.approx(trainer.seconds)
    assert row["images_per_s"] == pytest.approx(8 / trainer.seconds)
    assert row["seconds"]["other"] >= 0


def test_a_run_ends_when_its_time_is_spent_and_stays_ended(make_trainer):
    trainer = make_trainer(train__steps=50, train__checkpoint_every=50, train__max_seconds=1e-6)
    assert (trainer.run().steps, trainer.folder.model.is_dir()) == (1, True)
    again = make_trainer(train__steps=50, train__checkpoint_every=50, train__max_seconds=1e-6)
    assert again.run().steps == 1
