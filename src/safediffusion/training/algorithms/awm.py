"""AWM: advantage weighted matching, for noise or velocity (Xue et al., 2025).

It is GRPO's objective with the denoising error in place of the log-density of a clean image, of which it is
the evidence bound (Ho et al., 2020): up to a constant, log p(x0) ~ -E_{t,e} w_t |e_theta(x_t) - e|^2. One
draw of (t, e) estimates it; a ratio of two estimates means something only where both have the same draw.

The mathematics comes first, the algorithm that uses it below.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.training.algorithms.forward_process import ForwardProcess, Noised
from safediffusion.training.algorithms.grpo import grpo_loss, ratio_statistics
from safediffusion.training.algorithms.round_log import RoundLog
from safediffusion.training.learner import Learner


def matching_log_prob(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Estimate of log p(x0) up to a constant, mean over elements, (n,).

    Args:
        predicted: of what was added (or of the velocity), (n, c, h, w).
        target: what was added, (n, c, h, w).
        weight: w_t of each row's noise level, (n,).
    """
    return -weight * (predicted - target).square().flatten(1).mean(1)


class Awm(ForwardProcess):
    """GRPO's loss on the forward process: no trajectory, no guidance in the update.

    The old copy is the policy that sampled, so that ratios start at 1. With one update per round the policy
    still is the one that sampled: its own estimate, held fixed, is the old one, and no second pass is made.
    """

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        super().__init__(config, learner)
        self.on_policy = not self.keeps_old_copy(config)

    @classmethod
    def keeps_old_copy(cls, config: RunConfig) -> bool:
        """Only where the policy moves away, within a round, from the one that sampled."""
        return config.train.updates > 1

    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """GRPO's clipped loss of the two estimates, both from the rows' own noise."""
        predicted = self.predict(rows)
        density = matching_log_prob(predicted, rows.target, rows.weight)
        if self.on_policy:
            old = density.detach()
        else:
            old = matching_log_prob(self.predict_old(rows), rows.target, rows.weight)
        log.add_ratio((density - old).detach())
        return grpo_loss(density, old, advantages, self.config.train.clip_range), predicted

    def after(self, step: int) -> None:
        """The next round is sampled by the policy as it is now."""
        if not self.on_policy:
            self.learner.update_old_copy(0.0)

    def ratios(self, log: RoundLog) -> dict[str, Any]:
        """Of all rows of the round."""
        return ratio_statistics(torch.cat(log.ratios), self.config.train.clip_range)
