import json
import os
import random
import signal

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.diffusion.sample import generate
from safediffusion.errors import RunError, Terminated, UserError
from safediffusion.files.json_lines import read_jsonl
from safediffusion.report.sample_strips import tiles
from safediffusion.steering.reward import Rewards, WeightedReward
from safediffusion.training import checkpoint
from safediffusion.training.algorithms import ALGORITHMS
from tests.training.conftest import brightness

FIELDS = {
    "step", "reward_mean", "reward_std", "reward_benign", "reward_unsafe", "zero_std_ratio", "ratio_mean",
    "ratio_std", "ratio_max_dev", "clip_fraction_low", "clip_fraction_high", "approx_kl", "kl_ref",
    "kl_ref_per_timestep", "grad_norm", "lr", "loss", "images_per_s", "seconds", "passes",
    "peak_memory_mib", "image_stats", "recognisable", "collapse", "loss_scale",
}  # fmt: skip
BOTH = pytest.mark.parametrize("algorithm", ["grpo", "nft"])


def state(trainer):
    return {
        f"{file}/{k}": v.clone() for file, group in trainer.learner.state().items() for k, v in group.items()
    }


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def timeless(rows):
    changing = {"seconds", "images_per_s", "peak_memory_mib"}
    return [{k: v for k, v in row.items() if k not in changing} for row in rows]


def interrupt_after(step):
    def on_step(row):
        if row["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step


@BOTH
@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_reward_rises_on_a_two_mode_toy(make_trainer, two_modes, algorithm, family):
    trainer = make_trainer(
        family=family, network=two_modes(family), rollout__eta={"sd": 1.0, "sd3": 0.7}[family],
        train__algorithm=algorithm, train__lr={"grpo": 1e-3, "nft": 4e-4}[algorithm],
        train__clip_range=1e-2,
        train__updates={"grpo": 1, "nft": 3}[algorithm], train__micro_batch=32,
        rollout__group_size=16, rollout__guidance=1.0, rollout__batch_size=32,
    )  # fmt: skip
    rows = [trainer.round() for _ in range(10)]
    rewards = [row["reward_mean"] for row in rows]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + rows[0]["reward_std"]


def test_each_of_several_rewards_is_logged_on_its_own(make_trainer):
    def red(images, prompts):
        return 100 * images[:, 0].mean((1, 2))

    parts = [WeightedReward("bright", 1.0, brightness), WeightedReward("red", 0.5, red)]
    row = make_trainer(reward=Rewards(parts)).round()
    assert set(row["rewards"]) == {"bright", "red"}
    assert row["rewards"]["bright"]["reward_mean"] == row["reward_mean"]
    assert row["rewards"]["red"]["reward_std"] > 10 * row["reward_std"]
    assert {"reward_benign", "reward_unsafe", "zero_std_ratio"} < set(row["rewards"]["red"])


@pytest.mark.parametrize(
    ("schedule", "share"), [("constant", [1, 1, 1, 1]), ("linear", [1, 3 / 4, 1 / 2, 1 / 4])]
)
def test_the_learning_rate_of_a_round_is_a_function_of_the_step(make_trainer, schedule, share):
    trainer = make_trainer(train__steps=4, train__lr=1e-3, train__lr_schedule=schedule)
    rates = []
    for _ in range(2):
        rates.append(trainer.round()["lr"])
        assert trainer.learner.optimizer.param_groups[0]["lr"] == rates[-1]
    rates += [trainer.config.train.lr_at(step) for step in (2, 3)]
    assert rates == pytest.approx([1e-3 * s for s in share])


def test_a_cosine_falls_slowly_fast_and_slowly_again(make_trainer):
    train = make_trainer(train__steps=100, train__lr=1.0, train__lr_schedule="cosine").config.train
    assert train.lr_at(0) == 1 and train.lr_at(50) == pytest.approx(0.5) and train.lr_at(99) < 0.001
    assert train.lr_at(25) == pytest.approx((1 + 0.5**0.5) / 2)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("rank", [0, 4])
def test_interrupted_and_resumed_run_equals_an_undisturbed_one(make_trainer, algorithm, rank):
    changes = {
        "train__algorithm": algorithm, "train__lora_rank": rank, "train__steps": 4, "train__ema": 0.5,
        "train__kl": 0.01, "train__updates": 2, "rollout__prompts": 3, "train__checkpoint_every": 10,
        "train__lr_schedule": "linear",
    }  # fmt: skip
    straight = make_trainer("straight", **changes)
    result = straight.run()
    first = make_trainer("broken", **changes)
    first.on_step = interrupt_after(2)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.step == 2
    second = make_trainer("broken", **changes)
    resumed = second.run()
    assert_same_bits(state(straight), state(second))
    assert timeless(read_jsonl(straight.folder.metrics)) == timeless(read_jsonl(second.folder.metrics))
    assert (resumed.images, resumed.updates, resumed.status) == (result.images, result.updates, "finished")
    assert "resumed after round 2" in second.folder.log.read_text(encoding="utf-8")


def test_sigterm_saves_and_ends_with_its_exit_code(make_trainer):
    trainer = make_trainer(train__steps=4, train__checkpoint_every=10)
    trainer.on_step = lambda row: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Terminated) as stopped:
        trainer.run()
    assert stopped.value.code == 143
    assert checkpoint.latest(trainer.folder.checkpoints).name == "step_000001"


def test_a_reward_that_draws_at_random_is_resumed_too(make_trainer):
    def moody(images, prompts):
        luck = random.random() + np.random.normal() + torch.rand(())
        return brightness(images, prompts) * luck

    straight = make_trainer("straight", reward=moody, train__steps=3)
    straight.run()
    first = make_trainer("broken", reward=moody, train__steps=3)
    first.on_step = interrupt_after(1)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = make_trainer("broken", reward=moody, train__steps=3)
    second.run()
    assert_same_bits(state(straight), state(second))


@pytest.mark.parametrize("sign", ["", "-"])
def test_the_best_checkpoint_is_kept_and_becomes_the_model(make_trainer, sign):
    trainer = make_trainer(train__steps=4, train__keep_checkpoints=1, train__keep_best=f"{sign}reward_mean")
    trainer.run()
    rows = read_jsonl(trainer.folder.metrics)
    best = (min if sign else max)(rows, key=lambda row: row["reward_mean"])["step"]
    kept = trainer.folder.checkpoints / "best"
    assert checkpoint.read_state(kept)["step"] == best
    weights = checkpoint.read_tensors(kept)["weights"]
    model = StableDiffusionPipeline.from_pretrained(trainer.folder.model).unet.state_dict()
    assert all(torch.equal(model[name], tensor) for name, tensor in weights.items())


def test_a_best_checkpoint_that_was_not_copied_in_time_is_copied_by_the_resumed_run(make_trainer):
    first = make_trainer(train__keep_best="reward_mean")
    first.run()
    newest = checkpoint.latest(first.folder.checkpoints)
    (newest / "state.json").write_text(
        json.dumps(checkpoint.read_state(newest) | {"score": 9.0}), encoding="utf-8"
    )
    make_trainer(train__keep_best="reward_mean").recorder.resume()
    assert checkpoint.read_state(first.folder.checkpoints / "best")["score"] == 9.0


def test_a_gradient_that_is_no_number_changes_nothing_and_ends_the_run(make_trainer):
    trainer = make_trainer()
    before = state(trainer)
    for p in trainer.learner.parameters:
        p.grad = torch.full_like(p, torch.nan)
    with pytest.raises(RunError, match=r"nan or infinite.*train\.lr"):
        trainer.learner.optimizer_step()
    assert_same_bits(before, state(trainer))


def test_pictures_that_are_no_numbers_are_not_blamed_on_the_reward(make_trainer):
    trainer = make_trainer()
    trainer.decode = lambda latents, texts: torch.full((len(latents), 3, 16, 16), torch.nan)
    with pytest.raises(RunError, match="the model drew nan"):
        trainer.round()


def test_grpo_without_a_random_step_is_refused(make_trainer):
    with pytest.raises(UserError, match=r"rollout\.steps or rollout\.eta"):
        make_trainer(family="sd3", rollout__steps=1, rollout__eta=0.7)


def test_a_best_metric_that_is_not_measured_is_refused_with_those_that_are(make_trainer):
    with pytest.raises(UserError, match=r"train.keep_best is reward_maen.*reward_mean"):
        make_trainer(train__keep_best="reward_maen").run()


def test_a_wrong_name_of_the_best_metric_is_told_after_one_round(make_trainer):
    trainer = make_trainer(train__keep_best="reward_maen", train__checkpoint_every=100, train__steps=100)
    with pytest.raises(UserError, match="reward_maen"):
        trainer.run()
    assert trainer.step == 1


def test_where_a_run_was_interrupted_does_not_decide_which_weights_are_the_best(make_trainer):
    trainer = make_trainer(train__steps=4, train__checkpoint_every=2, train__keep_best="reward_mean")
    trainer.on_step = lambda row: os.kill(os.getpid(), signal.SIGTERM) if row["step"] == 3 else None
    with pytest.raises(Terminated):
        trainer.run()
    root = trainer.folder.checkpoints
    scores = {step: checkpoint.read_state(root / f"step_{step:06d}")["score"] for step in (2, 3)}
    assert scores[2] is not None and scores[3] is None
    assert checkpoint.read_state(root / "best")["step"] == 2


def test_rows_after_the_last_checkpoint_are_redone_not_doubled(make_trainer):
    """A killed process may have written metrics of rounds that no checkpoint holds."""
    first = make_trainer(train__steps=2)
    first.run()
    with first.folder.metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 3}) + "\n" + '{"step": 4, "rew')
    second = make_trainer(train__steps=4)
    second.run()
    assert [row["step"] for row in read_jsonl(second.folder.metrics)] == [1, 2, 3, 4]
    assert all("reward_mean" in row for row in read_jsonl(second.folder.metrics))


@BOTH
def test_run_folder_holds_metrics_samples_checkpoints_and_a_loadable_model(make_trainer, algorithm):
    trainer = make_trainer(
        train__algorithm=algorithm, train__steps=3, train__sample_every=2, train__kl=0.1,
        recognisable=lambda images: 1.0,
    )  # fmt: skip
    result = trainer.run()
    folder = trainer.folder
    rows = read_jsonl(folder.metrics)
    assert [row["step"] for row in rows] == [1, 2, 3] and all(set(row) >= FIELDS for row in rows)
    assert set(rows[0]["seconds"]) == {"sample", "decode", "score", "update", "other"}
    names = sorted(p.name for p in folder.samples.glob("*.png"))
    assert names == ["step_000000.png", "step_000002.png", "step_000003.png"]
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["step_000002", "step_000003"]
    assert (result.status, result.images, result.updates) == ("finished", 24, 3)
    plain = StableDiffusionPipeline.from_pretrained(folder.model)
    ours = generate(trainer.diffuser, ["a person"], [1], 3, 3.0)
    theirs = generate(StableDiffusion(plain, "cpu"), ["a person"], [1], 3, 3.0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert not [p for p in folder.root.rglob("*") if "partial" in p.name or p.suffix == ".tmp"]


@pytest.mark.parametrize(
    ("changes", "veiled"),
    [
        ({"model__path": "mine"}, 2),
        ({"model__path": "mine", "evaluate__show_unsafe": True}, 0),
        ({"prompts__path": "mine.csv"}, 0),
    ],
    ids=["another model, World's prompts", "the same, shown", "World, other prompts"],
)
def test_pictures_of_prompts_that_are_not_benign_are_veiled(make_trainer, changes, veiled):
    folders = {}
    for name, own in (("plain", {}), ("run", changes)):
        trainer = make_trainer(name, **own)
        trainer.write_sheet()
        folders[name] = trainer.folder.samples
    about = json.loads((folders["run"] / "samples.json").read_text(encoding="utf-8"))["prompts"]
    hidden = [p["veiled"] for p in about]
    assert sum(hidden) == veiled and all(p["label"] != "benign" for p in about if p["veiled"])
    plain, shown = (tiles(folder / "step_000000.png", len(about)) for folder in folders.values())
    assert [a != b for a, b in zip(plain, shown, strict=True)] == hidden


def test_log_names_the_steps_that_are_never_trained(make_trainer):
    trainer = make_trainer()
    trainer.diffuser.scheduler.register_to_config(steps_offset=0)
    trainer.diffuser.scheduler.final_alpha_cumprod = torch.tensor(1.0)
    fresh = type(trainer.algorithm)(trainer.config, trainer.learner)
    assert fresh.describe() == [
        "trains 3 of 4 steps per round, out of timesteps [750, 500, 250]",
        "never trained, as their deviation is 0: timesteps [0]",
    ]


def test_exported_model_is_the_average_and_training_goes_on_from_the_weights(make_trainer):
    trainer = make_trainer(train__ema=0.9, train__lr=1e-2)
    trainer.run()
    saved = StableDiffusionPipeline.from_pretrained(trainer.folder.model).unet.state_dict()
    names = list(trainer.learner.named)
    assert all(torch.equal(saved[n], t) for n, t in zip(names, trainer.learner.ema, strict=True))
    assert not all(torch.equal(saved[n], p) for n, p in trainer.learner.named.items())


def test_a_failed_checkpoint_leaves_the_one_before(make_trainer):
    import resource

    trainer = make_trainer()
    trainer.run()
    kept = checkpoint.latest(trainer.folder.checkpoints)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a write past it fails as on a full disk
    try:
        trainer.step += 1
        with pytest.raises(RunError, match="could not write"):
            trainer.save({})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.latest(trainer.folder.checkpoints) == kept
    assert not list(trainer.folder.checkpoints.glob(".*"))
    checkpoint.read_tensors(kept)
