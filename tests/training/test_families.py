"""What the trainer must hold for every family, not only for the UNet it was written on."""

import pytest
import torch

from safediffusion.training.algorithms.timesteps import trainable_steps
from tests.pipelines import FAMILIES_AND_RANKS

CLIP = 1e-4
NEW = pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "chroma", "z-image", "flux2", "sana"])
FLOWS = [
    *((family, "cps") for family in ("sdxl", "sd3", "flux", "chroma", "z-image", "flux2", "sana")),
    *((family, "flow-grpo") for family in ("sd3", "flux")),
]


@pytest.mark.parametrize(("family", "sde"), FLOWS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("cfg_update", [True, False])
def test_first_update_ratio_is_one(make_trainer, family, sde, dtype, cfg_update):
    trainer = make_trainer(
        family=family, model__dtype=dtype, rollout__batch_size=5, train__micro_batch=3, rollout__sde=sde,
        rollout__eta=0.7, train__cfg_update=cfg_update, train__clip_range=CLIP, train__kl=0.1,
    )  # fmt: skip
    row = trainer.round()
    assert row["ratio_max_dev"] <= (1e-6 if dtype == "fp32" else CLIP / 10)
    assert row["grad_norm"] > 0 and row["kl_ref"] == 0
    # a flow's last step has no noise, and SD3's last but one has next to none
    assert len(row["trained_timesteps"]) == {("sdxl", "cps"): 4, ("sd3", "cps"): 2}.get((family, sde), 3)


@pytest.mark.parametrize("algorithm", ["grpo", "nft"])
@pytest.mark.parametrize(
    ("family", "rank"), [case for case in FAMILIES_AND_RANKS if case[0] not in ("sd", "sd-v")]
)
def test_kl_starts_at_zero_and_pulls_back_later(make_trainer, family, algorithm, rank):
    trainer = make_trainer(
        family=family, train__algorithm=algorithm, train__kl=1.0, train__lora_rank=rank, rollout__eta=0.7
    )
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    assert trainer.algorithm.update(batch, torch.zeros(8))["kl_ref"] == 0.0
    torch.manual_seed(0)
    with torch.no_grad():
        for p in trainer.learner.parameters:
            p.add_(0.05 * torch.randn_like(p))
    trainer.algorithm.sample(batch)
    moved = trainer.algorithm.update(batch, torch.zeros(8))
    assert moved["kl_ref"] > 0 and moved["grad_norm"] > 0


@NEW
def test_recorded_densities_follow_from_recorded_latents(make_trainer, family):
    trainer = make_trainer(family=family, rollout__eta=0.7, rollout__guidance=2.0)
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    kept, schedule = trainer.algorithm.rollout, trainer.algorithm.schedule
    for i in trainable_steps(schedule, 0.7):
        t = schedule.timesteps[i]
        with torch.no_grad():
            output = trainer.diffuser.predict(kept.latents[:, i], t.expand(8), batch.cond, 2.0)
        mu, sigma = schedule.step(output, kept.latents[:, i], i, 0.7)
        exact = torch.distributions.Normal(mu, sigma).log_prob(kept.latents[:, i + 1]).mean((1, 2, 3))
        torch.testing.assert_close(kept.log_probs[:, i], exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "chroma", "z-image", "flux2", "sana"])
def test_recomputed_activations_give_the_same_update(make_trainer, family):
    updates = []
    for recompute in (False, True):
        trainer = make_trainer(family=family, train__lora_rank=4, train__recompute=recompute)
        assert trainer.diffuser.network.is_gradient_checkpointing == recompute
        trainer.round()
        updates.append([p.detach().clone() for p in trainer.learner.parameters])
    for kept, recomputed in zip(*updates, strict=True):
        torch.testing.assert_close(kept, recomputed, atol=1e-6, rtol=1e-5)


def test_a_distilled_network_learns_with_the_guidance_it_samples_with(make_trainer):
    trainer = make_trainer(family="flux", train__algorithm="nft", rollout__guidance=3.5)
    assert trainer.algorithm.guidance == 3.5
    assert make_trainer(family="sd3", train__algorithm="nft").algorithm.guidance == 1.0
