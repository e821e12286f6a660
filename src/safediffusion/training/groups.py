"""The groups of a round: which prompts it draws, and with which prompt each member is sampled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from safediffusion.config import RunConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.prompts.order import considered_prompts, source_sizes
from safediffusion.prompts.select import Prompt
from safediffusion.steering.neighbours import SafeNeighbours
from safediffusion.steering.reward import Reward, SteeringReward
from safediffusion.system import distributed
from safediffusion.training.algorithms import get_algorithm
from safediffusion.training.algorithms.algorithm import Batch
from safediffusion.training.curriculum import Curriculum
from safediffusion.training.prompt_cache import PromptConditions


@dataclass(frozen=True)
class Groups:
    """The groups of one round.

    Attributes:
        prompts: index of the prompt of each group, of all processes.
        batch: rows of this process; a group is never split between processes.
        texts: prompts of those rows.
        unborrowed: rows of all processes that are sampled with their own prompt, not with a neighbour's, and
            without steering.
        labels: of the rows in `unborrowed`.
    """

    prompts: list[int]
    batch: Batch
    texts: list[str]
    unborrowed: list[int]
    labels: list[str | None]


class GroupSource:
    """Makes the groups of a round from the configuration and, with rollout.considered, the curriculum.

    Args:
        config: of the run.
        diffuser: encodes the prompts.
        prompts: of the run.
        reward: the main reward, by which prompts are neighbours.
    """

    def __init__(
        self, config: RunConfig, diffuser: Diffuser, prompts: Sequence[Prompt], reward: Reward
    ) -> None:
        self.config, self.prompts = config, prompts
        texts = [p.text for p in prompts]
        self.curriculum = Curriculum(prompts)
        self.conditions = PromptConditions(diffuser, texts)
        kl = [config.train.kl_of(p.label, p.kind) for p in prompts]
        self.kl = torch.tensor(kl, device=diffuser.device)
        needs_density = get_algorithm(config.train.algorithm).needs_density
        self.borrowed = 0 if needs_density else int(config.rollout.neighbours * config.rollout.group_size)
        self.neighbours = SafeNeighbours(reward, texts, self.borrowed)
        self.steered = int(config.rollout.steered * config.rollout.group_size)

    def describe(self) -> list[str]:
        """A line for the log where a setting has no effect."""
        if not self.config.rollout.neighbours:
            return []
        if get_algorithm(self.config.train.algorithm).needs_density:
            why = f"train.algorithm={self.config.train.algorithm} learns from images of a prompt's own"
        elif not self.borrowed:
            why = f"that share of {self.config.rollout.group_size} images is less than one"
        elif not isinstance(self.neighbours.reward, SteeringReward):
            why = "without steering no prompt has a neighbour that fits it better than itself"
        else:
            return []
        return [f"rollout.neighbours has no effect: {why}"]

    def __call__(self, step: int) -> Groups:
        """The groups of a round, counted from 0."""
        c = self.config.rollout
        sizes, weights = source_sizes(self.prompts), self.config.prompts.weights
        sources = considered_prompts(sizes, weights, self.config.seed, step, c.prompts, c.considered)
        chosen = [i for considered, count in sources for i in self.curriculum.choose(considered, count)]
        groups = distributed.share(c.prompts)
        scored_for = [i for i in chosen for _ in range(c.group_size)]
        members = self.prompts_to_draw_with(chosen)
        drawn_with = list(chain.from_iterable(members))
        steered = list(chain.from_iterable(map(self.steered_members, chosen, members)))
        first, total = groups.start * c.group_size, len(scored_for)
        here = slice(first, groups.stop * c.group_size)
        keys = [(i, row % c.group_size) for row, i in enumerate(scored_for[here])]
        cond = self.conditions([i for i, _ in keys])
        borrowed = self.conditions(drawn_with[here]) if self.borrowed else cond
        unborrowed = [row for row in range(total) if scored_for[row] == drawn_with[row] and not steered[row]]
        return Groups(
            prompts=chosen,
            batch=Batch(
                step,
                first,
                total,
                keys,
                cond,
                borrowed,
                self.kl[[i for i, _ in keys]],
                tuple(row for row, is_steered in enumerate(steered[here]) if is_steered),
                tuple(self.given_images(keys)),
            ),
            texts=[self.prompts[i].text for i, _ in keys],
            unborrowed=unborrowed,
            labels=[self.prompts[scored_for[row]].label for row in unborrowed],
        )

    def given_images(self, keys: Sequence[tuple[int, int]]) -> Iterator[Path]:
        """The image of every row, the preferred one of a pair first, where a run learns from given pairs."""
        if self.config.train.dpo_pairs == "given":
            for i, member in keys:
                pair = self.prompts[i].pair
                if pair is None:
                    raise ValueError(f"prompt {i} has no pair of images")
                yield pair[member]

    def prompts_to_draw_with(self, chosen: Sequence[int]) -> list[list[int]]:
        """The prompt that each member of each group is sampled with: neighbours first, then the group's own.

        A prompt that names a harm may never yield a safe image, so all its rewards are alike and teach
        nothing. Images of a neighbouring safe prompt, scored for this prompt, give the group a contrast to
        learn from.
        """
        size = self.config.rollout.group_size
        near = zip(chosen, self.neighbours(chosen), strict=True)
        return [[*lent, *[index] * (size - len(lent))] for index, lent in near]

    def steered_members(self, index: int, drawn_with: Sequence[int]) -> list[bool]:
        """Which members of a prompt's group are sampled with activation steering.

        Of a prompt labelled unsafe, they come after those that borrow a neighbour's prompt. The other prompts
        have safe images of their own, which steering would only move away from their text.
        """
        borrowed = sum(prompt != index for prompt in drawn_with)
        count = self.steered if self.prompts[index].label == "unsafe" else 0
        return [borrowed <= member < borrowed + count for member in range(len(drawn_with))]
