"""What a round draws, and with which prompt."""

import torch

from safediffusion.steering.encoders import load_encoder
from safediffusion.steering.reward import ClipReward
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
        assert torch.equal(batch.drawn.tokens[row], wanted.tokens[0] if lent else own.tokens[row])
        assert (row in groups.own) != lent
    assert len(groups.labels) == len(groups.own) == len(batch.keys) - last


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
    assert row["reward_mean"] == scores[0][groups.own].mean().item() != scores[0].mean().item()


def test_grpo_learns_from_its_own_samples_only(make_trainer):
    trainer = lending(make_trainer, rollout__neighbours=0.4, train__algorithm="grpo")
    groups = trainer.groups(0)
    assert groups.batch.drawn is groups.batch.cond and len(groups.own) == groups.batch.total
