"""Weighted regression on sampled images: SFT on the best ones, and RWR as in Black et al., 2024.

Both are the denoising loss with a weight for each image; the weights of a group have a mean of 1.

The mathematics comes first, the algorithms that use it below.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from safediffusion.system import distributed
from safediffusion.training.algorithms.algorithm import Batch
from safediffusion.training.algorithms.awm import matching_log_prob
from safediffusion.training.algorithms.forward_process import ForwardProcess, Noised
from safediffusion.training.algorithms.round_log import RoundLog


def best_weights(advantages: Tensor) -> Tensor:
    """Weight of each group's best image, 0 for the others: (groups, members).

    Images that tie for the best share the weight. A group of equal rewards has no best image and no weight.

    Args:
        advantages: (groups, members).
    """
    best = advantages == advantages.amax(1, keepdim=True)
    shares = advantages.shape[1] * best / best.sum(1, keepdim=True)
    return shares.masked_fill(best.all(1, keepdim=True), 0.0)


def softmax_weights(advantages: Tensor, temperature: float) -> Tensor:
    """Weights proportional to exp(advantage / temperature), (groups, members) (Peters and Schaal, 2007).

    Args:
        advantages: (groups, members).
        temperature: high values weigh all images alike, low ones the best alone.
    """
    return advantages.shape[1] * (advantages / temperature).softmax(1)


def effective_share(weights: Tensor) -> float:
    """Effective sample size as a share of the images: (sum w)^2 / (n sum w^2), 0 where all weights are 0.

    Args:
        weights: (n,).
    """
    squares = len(weights) * weights.square().sum()
    return (weights.sum().square() / squares).item() if squares > 0 else 0.0


class WeightedRegression(ForwardProcess):
    """Denoising loss, with weights that follow from the advantages of a group."""

    @abstractmethod
    def weights(self, advantages: Tensor) -> Tensor:
        """Weights (groups, members) from advantages (groups, members)."""

    def describe(self) -> list[str]:
        """Lines for the log, with what to set where images are guided."""
        guidance = self.config.rollout.guidance
        again = (
            f"images sampled with rollout.guidance={guidance:g} are learned as they are and guided again "
            "when the model is used, so contrast grows with every round; set rollout.guidance=1 against that"
        )
        return [*super().describe(), *([again] if guidance > max(1.0, self.guidance) else [])]

    def update(self, batch: Batch, advantages: Tensor) -> dict[str, Any]:
        """Optimizer steps on all images by their weights; the log has the effective share of the images."""
        weights = self.weights(advantages.view(-1, self.config.rollout.group_size)).flatten()
        gathered = distributed.all_gather(weights)
        return {**super().update(batch, weights), "effective_share": effective_share(gathered)}

    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """The weighted squared error; `advantages` are the weights of the images."""
        predicted = self.predict(rows)
        return -advantages * matching_log_prob(predicted, rows.target, rows.weight), predicted

    def after(self, step: int) -> None:
        """There is no old copy."""


class Sft(WeightedRegression):
    """Supervised fine-tuning on the best image of each group."""

    by_rank: ClassVar[bool] = True

    def weights(self, advantages: Tensor) -> Tensor:
        """See `best_weights`."""
        return best_weights(advantages)


class Rwr(WeightedRegression):
    """Reward-weighted regression: all images count, the better ones more."""

    def weights(self, advantages: Tensor) -> Tensor:
        """See `softmax_weights`."""
        return softmax_weights(advantages, self.config.train.rwr_temperature)
