"""What an algorithm is, what it is given for a round, and how a round is split into optimizer steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.diffusion.activation_steering import ActivationSteering
from safediffusion.diffusion.condition import Condition
from safediffusion.errors import UserError
from safediffusion.training.learner import Learner


@dataclass(frozen=True)
class Batch:
    """The images that a round is about to sample: group after group, members of a group side by side.

    Attributes:
        step: round, from 0.
        first: place of its first row among the rows of all processes.
        total: rows of all processes.
        keys: (prompt, member) of every row; the name of its noise.
        cond: text conditioning of its rows.
        drawn_with: text conditioning that its rows are sampled with; `cond` except for members that
            borrow a neighbour's prompt.
        kl: weight of its rows' distance to the reference model, (n,).
        steered: which of its rows are sampled with activation steering, from 0.
        given: files of its rows' images where nothing is sampled.
    """

    step: int
    first: int
    total: int
    keys: list[tuple[int, int]]
    cond: Condition
    drawn_with: Condition
    kl: Tensor
    steered: tuple[int, ...] = ()
    given: tuple[Path, ...] = ()

    @property
    def rows(self) -> slice:
        """Its rows among those of all processes."""
        return slice(self.first, self.first + len(self.keys))

    def local(self, rows: Tensor) -> Tensor:
        """Those of the given rows of all processes that are here, counted from 0."""
        return rows[(rows >= self.rows.start) & (rows < self.rows.stop)] - self.first


@dataclass(frozen=True)
class UpdateWork:
    """The network's work in the update of a round, for the plan of a run and the size of its calls.

    Attributes:
        rows: that have a gradient, of all optimizer steps of the round.
        extra_passes: forward passes without a gradient beside each of these.
        guided: whether they are classifier-free guided.
        stored: latents kept per image between sampling and update.
    """

    rows: int
    extra_passes: int
    guided: bool = False
    stored: int = 1


class Algorithm(ABC):
    """Samples a round and learns from its advantages; knows nothing of rewards.

    Attributes:
        needs_density: its samples must come from a stochastic sampler under their own prompt, as the density
            of each step is compared. Without it a group may borrow images that other prompts drew.
        by_rank: only the order of a group's advantages matters, so they are not clipped, which makes ties.
        steering: of the rows that are sampled with it; set before the first round of a run that has some.
    """

    needs_density: ClassVar[bool] = False
    by_rank: ClassVar[bool] = False

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        self.config, self.learner = config, learner
        self.diffuser = learner.diffuser
        self.steering: ActivationSteering | None = None

    @classmethod
    def keeps_old_copy(cls, config: RunConfig) -> bool:
        """Whether the weights of an older policy are kept beside those in training."""
        return False

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse settings that this algorithm cannot work with.

        Raises:
            UserError: with what to set instead.
        """
        if config.rollout.branches:
            raise UserError(
                "rollout.branches shares the steps before grpo's window; set train.algorithm=grpo and "
                "train.window=2, or rollout.branches=0"
            )

    @classmethod
    @abstractmethod
    def update_work(cls, config: RunConfig, images: int) -> UpdateWork:
        """The update of a round of this many images."""

    @abstractmethod
    def describe(self) -> list[str]:
        """Lines for the log."""

    @abstractmethod
    def sample(self, batch: Batch) -> Tensor:
        """Clean latents (n, c, h, w); what the update needs of how they were made is kept."""

    @abstractmethod
    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on the last sampled images, with advantages (n,); returns values for the log."""


def optimizer_batches(n: int, updates: int) -> Iterator[Tensor]:
    """Rows of each optimizer step, strided so that every one of them holds images of several prompts."""
    for first in range(updates):
        yield torch.arange(first, n, updates)


def micro_batches(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Rows in parts of `size`, the last one smaller; nothing where this process has none."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
