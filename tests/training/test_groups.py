"""What a round draws, and with which prompt."""

import torch

from safediffusion.prompts.select import Prompt
from safediffusion.steering.encoders import load_encoder
from safediffusion.steering.reward import ClipReward
from safediffusion.training.curriculum import Curriculum
from tests.training.conftest import PROMPTS


class Lending(ClipReward):
    """Wants the last prompt, whatever it is asked."""

    def _target(self, prompts):
        return self.encoder.text([PROMPTS[-1].text] * len(prompts))


def lending(make_trainer, name="lending", **changes):
    return make_trainer(
        name,
        reward=Lending(load_encoder("world", "cpu")),
        rollout__prompts=4,
        rollout__group_size=3,
        **{"train__algorithm": "nft", **changes},
    )


def test_first_members_are_drawn_with_neighbours_but_learned_under_their_own_prompt(make_trainer):
    trainer = lending(make_trainer, rollout__neighbours=0.4)
    groups = trainer.groups(0)
    batch, last = groups.batch, len(PROMPTS) - 1
    own = trainer.groups.conditions([prompt for prompt, _ in batch.keys])
    wanted = trainer.groups.conditions([last])
    assert torch.equal(batch.cond.tokens, own.tokens)
    for row, (prompt, member) in enumerate(batch.keys):
        lent = member == 0 and prompt != last
        assert torch.equal(batch.drawn_with.tokens[row], wanted.tokens[0] if lent else own.tokens[row])
        assert (row in groups.unborrowed) != lent
    assert len(groups.labels) == len(groups.unborrowed) == len(batch.keys) - last


def test_a_lent_picture_is_the_lender_s_picture(make_trainer):
    """Same noise, other prompt: what is drawn follows `drawn`, row by row."""
    borrowed, plain = (lending(make_trainer, str(n), rollout__neighbours=n) for n in (0.4, 0.0))
    batch = borrowed.groups(0).batch
    a, b = borrowed.algorithm.sample(batch), plain.algorithm.sample(plain.groups(0).batch)
    same = [torch.equal(x, y) for x, y in zip(a, b, strict=True)]
    assert same == [member != 0 or prompt == len(PROMPTS) - 1 for prompt, member in batch.keys]


def test_rewards_in_the_log_are_of_a_prompt_s_own_pictures(make_trainer):
    trainer = lending(make_trainer, rollout__neighbours=0.4)
    groups = trainer.groups(0)
    scores = []
    part = trainer.rewards.parts[0].function

    def watched(images, prompts):
        scores.append(part(images, prompts))
        return scores[-1]

    object.__setattr__(trainer.rewards.parts[0], "function", watched)
    row = trainer.round()
    assert row["reward_mean"] == scores[0][groups.unborrowed].mean().item() != scores[0].mean().item()


def test_grpo_learns_from_its_own_samples_only(make_trainer):
    trainer = lending(make_trainer, rollout__neighbours=0.4, train__algorithm="grpo")
    groups = trainer.groups(0)
    assert groups.batch.drawn_with is groups.batch.cond and len(groups.unborrowed) == groups.batch.total


HARMS = [Prompt(f"harm {i}", "unsafe", "hate") for i in range(2)]  # 4 and 5, after PROMPTS


def test_prompts_that_spread_most_are_drawn_in_their_order():
    curriculum = Curriculum([*PROMPTS, *HARMS])
    assert curriculum.choose([3, 1], 1) == [3]  # nothing is known: in turn
    curriculum.observe([1, 4], [0.1, 0.5])
    assert curriculum.choose([1, 4, 3, 5], 2) == [4, 5]  # 5 is like 4, 3 like 1
    curriculum.observe([5], [0.0])
    assert curriculum.choose([1, 5, 4, 3], 3) == [1, 4, 3]


def test_a_kind_that_was_never_drawn_comes_first():
    curriculum = Curriculum([*PROMPTS, *HARMS])
    curriculum.observe([1], [0.5])
    assert curriculum.choose([1, 3, 4], 1) == [4]


def test_labels_keep_their_shares_however_little_one_of_them_spreads():
    curriculum = Curriculum([*PROMPTS, *HARMS])
    curriculum.observe([0, 2, 1, 3, 4, 5], [0.0, 0.01, 0.5, 0.6, 0.7, 0.8])
    assert curriculum.choose([0, 1, 2, 3], 2) == [2, 3]
    assert curriculum.choose([0, 1, 2, 3, 4, 5], 3) == [2, 4, 5]


def test_a_curriculum_draws_a_share_of_what_it_considers_and_survives_a_checkpoint(make_trainer):
    changes = {"rollout__prompts": 1, "rollout__considered": 4, "train__checkpoint_every": 1}
    trainer = make_trainer(train__steps=2, **changes)
    trainer.run()
    assert len(trainer.groups(0).prompts) == 1
    seen = trainer.groups.curriculum
    assert len(seen.spreads) == 2 and all(spread > 0 for spread in seen.spreads.values())
    resumed = make_trainer(train__steps=3, **changes)
    resumed.resume()
    assert resumed.groups.curriculum.spreads == seen.spreads
    assert resumed.groups(2).prompts == trainer.groups(2).prompts
