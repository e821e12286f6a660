import pytest
import torch

from safediffusion.config import load_config
from safediffusion.training.algorithms import ALGORITHMS

CLIP = 1e-4


def weights(trainer):
    return [p.detach().clone() for p in trainer.learner.parameters]


def gradient(trainer, advantages):
    """The gradient of a round's first optimizer step, taken before the step."""
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    kept = {}

    def catch():
        kept.update({name: p.grad.clone() for name, p in trainer.learner.named.items() if p.grad is not None})
        trainer.learner.optimizer.zero_grad()
        return 0.0

    trainer.learner.optimizer_step = catch
    trainer.algorithm.update(batch, advantages)
    return kept


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("cfg_update", [True, False])
@pytest.mark.parametrize(("batch_size", "micro_batch"), [(8, 8), (3, 5), (5, 3)])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_first_update_ratio_is_one(make_trainer, dtype, batch_size, micro_batch, cfg_update, guidance):
    trainer = make_trainer(
        model__dtype=dtype,
        rollout__batch_size=batch_size,
        rollout__guidance=guidance,
        train__micro_batch=micro_batch,
        train__cfg_update=cfg_update,
        train__clip_range=CLIP,
    )
    row = trainer.round()
    limit = 1e-6 if dtype == "fp32" else CLIP / 10
    assert row["ratio_max_dev"] <= limit
    assert row["first_update_ratio_max_dev"] <= limit
    assert row["clip_fraction_low"] == row["clip_fraction_high"] == 0
    assert row["grad_norm"] > 0
    assert len(row["trained_timesteps"]) == 4


def test_ratio_leaves_one_once_the_weights_moved(make_trainer):
    """The check above could not fail if the ratio were one by construction."""
    row = make_trainer(train__updates=2, train__lr=1e-2).round()
    assert row["first_update_ratio_max_dev"] <= 1e-6 < row["ratio_max_dev"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_accumulated_gradient_equals_the_full_batch(make_trainer, algorithm):
    advantages = torch.linspace(-1, 1, 8)
    changes = {"train__algorithm": algorithm, "train__kl": 0.1}
    whole = gradient(make_trainer(train__micro_batch=64, **changes), advantages)
    parts = gradient(make_trainer(train__micro_batch=2, **changes), advantages)
    assert whole.keys() == parts.keys()
    scale = max(g.abs().max() for g in whole.values())
    for name, g in whole.items():
        # float32 sums in another order; a wrong normalisation would be off by its whole size
        torch.testing.assert_close(parts[name], g, atol=2e-5 * float(scale), rtol=1e-3)


@pytest.mark.parametrize("algorithm", ["grpo", "nft"])
@pytest.mark.parametrize("rank", [0, 4])
def test_kl_starts_at_zero_and_pulls_back_later(make_trainer, algorithm, rank):
    trainer = make_trainer(train__algorithm=algorithm, train__kl=1.0, train__lora_rank=rank)
    none = torch.zeros(8)
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    assert trainer.algorithm.update(batch, none)["kl_ref"] == 0.0
    torch.manual_seed(0)
    with torch.no_grad():
        for p in trainer.learner.parameters:
            p.add_(0.05 * torch.randn_like(p))
    trainer.algorithm.sample(batch)
    moved = trainer.algorithm.update(batch, none)
    assert moved["kl_ref"] > 0 and moved["grad_norm"] > 0
    assert len(moved["kl_ref_per_timestep"]) > 1


def test_zero_advantages_leave_grpo_weights_to_weight_decay_alone(make_trainer):
    trainer = make_trainer(train__weight_decay=0.0)
    before = weights(trainer)
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    assert trainer.algorithm.update(batch, torch.zeros(8))["grad_norm"] == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))


def test_a_balanced_step_is_weighted(make_trainer):
    advantages = torch.linspace(-1, 1, 8)
    plain, balanced = (make_trainer(train__window=1, train__balance_steps=b) for b in (False, True))
    before, after = gradient(plain, advantages), gradient(balanced, advantages)
    (weight,) = balanced.algorithm.weights[[i for i, e in enumerate(balanced.algorithm.eta) if e]].tolist()
    assert weight != pytest.approx(1.0, rel=0.01)
    for name, g in before.items():
        torch.testing.assert_close(after[name], weight * g, rtol=1e-3, atol=1e-7)


def test_window_is_shared_and_trained(make_trainer):
    row = make_trainer(rollout__steps=8, train__window=3, train__timestep_fraction=0.7).round()
    assert len(row["trained_timesteps"]) == 2


def test_nft_old_copy_is_the_policy_after_the_first_round_and_lags_later(make_trainer):
    trainer = make_trainer(train__algorithm="nft", train__old_decay_step=0.5)
    trainer.round()
    assert all(torch.equal(a, b) for a, b in zip(trainer.learner.old, weights(trainer), strict=True))
    trainer.round()
    assert not all(torch.equal(a, b) for a, b in zip(trainer.learner.old, weights(trainer), strict=True))


def test_nft_ignores_eta_and_makes_as_many_updates_as_asked(make_trainer):
    noisy = make_trainer(train__algorithm="nft", rollout__eta=1.0, train__updates=3)
    still = make_trainer(train__algorithm="nft", rollout__eta=0.0, train__updates=3)
    assert noisy.round()["reward_mean"] == still.round()["reward_mean"]
    step = noisy.learner.optimizer.state[noisy.learner.parameters[0]]["step"]
    assert int(step) == 3


def test_ema_is_swapped_in_for_evaluation_and_out_again(make_trainer):
    trainer = make_trainer(train__ema=0.9)
    trainer.round()
    raw, average = weights(trainer), [t.clone() for t in trainer.learner.ema]
    with trainer.learner.evaluation_weights():
        assert all(torch.equal(a, b) for a, b in zip(average, weights(trainer), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(raw, weights(trainer), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(raw, average, strict=True))


def learned(make_trainer, name, advantages, **changes):
    """Averaged gradients and image-passes after one update with these advantages."""
    trainer = make_trainer(name, train__micro_batch=4, **changes)
    batch = trainer.groups(trainer.step).batch
    trainer.algorithm.sample(batch)
    with trainer.passes.counting(trainer.diffuser.network):
        trainer.algorithm.update(batch, advantages)
    moments = [trainer.learner.optimizer.state[p]["exp_avg"] for p in trainer.learner.parameters]
    return moments, trainer.passes.take()


@pytest.mark.parametrize("updates", [1, 2])
def test_a_group_of_equal_rewards_costs_grpo_nothing_and_changes_nothing(make_trainer, updates):
    half = torch.tensor([1.0, -1.0, 0.5, -0.5, 0, 0, 0, 0])
    changes = {"train__updates": updates, "train__clip_range": 1e-2}
    skipped, few = learned(make_trainer, "skipped", half, **changes)
    # so small an advantage is passed through the network and has no gradient in float32
    passed, all_ = learned(make_trainer, "passed", torch.where(half == 0, 1e-30, half), **changes)
    assert 2 * few["backward"] == all_["backward"] and 2 * few["forward"] == all_["forward"]
    largest = max(float(m.abs().max()) for m in passed)
    for a, b in zip(skipped, passed, strict=True):
        # float32 sums in another order, and a second step from where Adam made a little more of that
        torch.testing.assert_close(a, b, atol=1e-4 * largest, rtol=1e-3)


def test_a_kl_term_keeps_groups_of_equal_rewards_in_the_update(make_trainer):
    none = torch.zeros(8)
    assert learned(make_trainer, "with", none, train__kl=0.1)[1]["backward"] == 2 * 8 * 4
    assert learned(make_trainer, "without", none)[1] == {"forward": 0, "backward": 0}


def test_benign_prompts_have_a_kl_of_their_own(make_trainer):
    every = {"rollout__prompts": 4}
    trainer = make_trainer(train__kl=0.1, train__kl_benign=0.7, **every)
    batch = trainer.groups(trainer.step).batch
    labels = [trainer.groups.prompts[prompt].label for prompt, _ in batch.keys]
    assert labels.count("benign") == labels.count("unsafe") == 8
    assert batch.kl.tolist() == pytest.approx([0.7 if label == "benign" else 0.1 for label in labels])
    # half of the rows, guided, through four steps; the other half has nothing to learn
    for kl, benign in ((0.0, 0.7), (0.1, 0.0)):
        changes = {"train__kl": kl, "train__kl_benign": benign}
        assert learned(make_trainer, f"{kl}", torch.zeros(16), **changes, **every)[1]["backward"] == 2 * 8 * 4


def test_the_kl_of_benign_prompts_can_be_of_some_kinds_alone():
    train = load_config("world", ["train.kl=0.1", "train.kl_benign=0.7", "train.kl_kinds=[shapes]"]).train
    asked = [("benign", "shapes"), ("benign", "people"), ("benign", None), ("unsafe", "shapes"), (None, None)]
    assert [train.kl_of(*each) for each in asked] == [0.7, 0.1, 0.1, 0.1, 0.1]


def test_the_kind_of_a_prompt_decides_the_kl_of_its_group(make_trainer):
    every = {"rollout__prompts": 4, "train__kl": 0.1, "train__kl_benign": 0.7}
    trainer = make_trainer(train__kl_kinds=["composition"], **every)
    batch = trainer.groups(0).batch
    prompts = [trainer.groups.prompts[prompt] for prompt, _ in batch.keys]
    held = [prompt.label == "benign" and prompt.kind == "composition" for prompt in prompts]
    assert {prompt.label for prompt in prompts} == {"benign", "unsafe"}
    assert batch.kl.tolist() == pytest.approx([0.7 if each else 0.1 for each in held])
    assert held.count(True) == 4


def test_moments_and_weight_decay_go_on_when_no_row_is_learned(make_trainer):
    changes = {"train__weight_decay": 0.5}
    skipped, passed = (
        learned(make_trainer, f"{value}", torch.full((8,), value), **changes)[0] for value in (0.0, 1e-30)
    )
    for a, b in zip(skipped, passed, strict=True):
        torch.testing.assert_close(a, b, atol=1e-20, rtol=0)  # a bias of 0 moves by the advantage itself


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_forward_process_learns_from_the_noisiest_levels(make_trainer, monkeypatch, family):
    trainer = make_trainer(family=family, train__algorithm="nft", train__timestep_fraction=0.25)
    process, levels = trainer.diffuser.process, []
    add_noise = type(process).add_noise

    def watched(self, x0, e, level):
        levels.extend(level.tolist())
        return add_noise(self, x0, e, level)

    monkeypatch.setattr(type(process), "add_noise", watched)
    trainer.round()
    told = process.timestep(torch.arange(process.levels))
    assert (told.diff() >= 0).all()
    assert len(levels) == 8 and min(levels) >= 0.75 * process.levels and len(set(levels)) > 1


BRANCHED = {
    "rollout__steps": 8, "rollout__group_size": 6, "rollout__branches": 2, "train__window": 2,
    "rollout__batch_size": 4,
}  # fmt: skip


def branched(make_trainer, name, step, **changes):
    """A trainer that has sampled the groups of a round, and the passes that took."""
    trainer = make_trainer(name, **BRANCHED | changes)
    with trainer.passes.counting(trainer.diffuser.network):
        trainer.algorithm.sample(trainer.groups(step).batch)
    return trainer, trainer.passes.take()["forward"]


def test_a_branch_shares_what_comes_before_the_window_and_nothing_after(make_trainer):
    step = 1
    trainer, passes = branched(make_trainer, "branches", step)
    first = next(i for i, eta in enumerate(trainer.algorithm.eta) if eta)
    assert 0 < first < 6  # else the test shows nothing
    branches = trainer.algorithm.rollout.latents.unflatten(0, (4, 3))
    until, after = branches[:, :, : first + 1], branches[:, :, first + 1 :]
    assert (until == until[:, :1]).all()
    assert not torch.isclose(after, after[:, [1, 2, 0]]).flatten(3).all(-1).any()
    assert not torch.isclose(branches[0], branches[1]).flatten(2).all(-1).any()
    assert passes == 2 * (4 * first + 12 * (8 - first))  # guidance by two passes


def test_a_branch_is_sampled_as_its_first_member_would_be_alone(make_trainer):
    """Sharing is a matter of cost: the same latents, and densities that the update meets again."""
    trainer, _ = branched(make_trainer, "branches", 1)
    plain, _ = branched(make_trainer, "plain", 1, rollout__branches=0)
    shared, alone = trainer.algorithm.rollout, plain.algorithm.rollout
    for row in (0, 3, 6, 9):
        torch.testing.assert_close(shared.latents[row], alone.latents[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(shared.log_probs[row], alone.log_probs[row], atol=1e-5, rtol=1e-5)
    row = trainer.algorithm.update(trainer.groups(1).batch, torch.linspace(-1, 1, 12))
    assert row["first_update_ratio_max_dev"] <= 1e-6 and row["grad_norm"] > 0


def test_members_are_compared_within_their_branch(make_trainer):
    seen = []
    trainer = make_trainer(**BRANCHED)
    update = trainer.algorithm.update

    def watched(batch, advantages):
        seen.append(advantages)
        return update(batch, advantages)

    trainer.algorithm.update = watched
    trainer.round()
    per_branch = seen[0].view(4, 3)
    torch.testing.assert_close(per_branch.mean(1), torch.zeros(4), atol=1e-3, rtol=0)
    assert not torch.allclose(per_branch, torch.zeros(4, 3))


def region(make_trainer, limit, advantages, moved):
    """A round's update in a trust region by a policy that was moved after sampling, and its gradient."""
    trainer = make_trainer(train__trust_region=limit, train__updates=2, train__micro_batch=32)
    batch = trainer.groups(0).batch
    trainer.algorithm.sample(batch)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in trainer.learner.parameters:
            p.add_(moved * torch.randn_like(p))
    norms = []

    def catch():
        norms.append(sum(p.grad.square().sum().item() for p in trainer.learner.parameters))
        trainer.learner.optimizer.zero_grad()
        return 0.0

    trainer.learner.optimizer_step = catch
    return trainer.algorithm.update(batch, advantages)["stopped"], norms


def test_trust_region_stops_only_what_goes_further_away(make_trainer):
    up = torch.tensor([1.0, 1.0, -1.0, -1.0] * 2)  # both signs in each optimizer step
    assert region(make_trainer, 1e6, up, 0.1)[0] == 0  # within the region nothing is stopped
    assert region(make_trainer, 1e-9, up, 0.0)[0] == 0  # nor where the policy has not moved
    stopped, norms = region(make_trainer, 1e-9, up, 0.1)
    assert 0.2 < stopped < 0.8 and all(norm > 0 for norm in norms)
    # what goes further away with one sign comes back with the other
    assert region(make_trainer, 1e-9, -up, 0.1)[0] == pytest.approx(1 - stopped)


def test_one_step_a_round_learns_from_the_exact_ratio_of_one(make_trainer):
    """The gradient of the only step is that of advantage times log-density, whatever the rollout rounded."""
    advantages = torch.linspace(-1, 1, 8)
    one = make_trainer(model__dtype="bf16", train__clip_range=1e-12)
    batch = one.groups(0).batch
    one.algorithm.sample(batch)
    one.algorithm.rollout.log_probs.add_(1.0)  # as if the rollout had rounded, grossly
    row = one.algorithm.update(batch, advantages)
    assert row["grad_norm"] > 0 and row["ratio_max_dev"] > 0.5  # logged all the same
