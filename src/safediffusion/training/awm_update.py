"""AWM: GRPO's objective with the denoising error as the log-density of a clean image."""

from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.training.awm import matching_log_prob
from safediffusion.training.forward_update import ForwardProcess, Noised
from safediffusion.training.grpo import grpo_loss, ratio_statistics
from safediffusion.training.learner import Learner
from safediffusion.training.updates import RoundLog


class Awm(ForwardProcess):
    """Advantage weighted matching (Xue et al., 2025): no trajectory, no guidance in the update.

    The old copy is the policy that sampled, so that ratios start at 1. With one update a round the policy
    still is the one that sampled: its own estimate, held fixed, is the old one, and no second pass is made.
    """

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        super().__init__(config, learner)
        self.on_policy = config.train.updates == 1

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
            self.learner.follow(0.0)

    def ratios(self, log: RoundLog) -> dict[str, Any]:
        """Of all rows of the round."""
        return ratio_statistics(torch.cat(log.ratios), self.config.train.clip_range)
