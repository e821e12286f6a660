"""PEPG: proximal exact policy gradient on the evidence bound (Choi et al., 2026, arXiv 2602.04663).

The log-density of an image is estimated as in AWM. The policy gradient of the advantage minus the KL to the
old policy, from which the images are sampled, is E_old[ rho (A - lambda log rho) grad log p ] with
rho = p / p_old. The KL does what a clip is for.

The release weighs the error of a clean image by the inverse of its mean; the weight here is that of the other
algorithms. Its advantages are a tenth of the centred rewards, hence lambda = 10 in units of the advantage.

The mathematics comes first, the algorithm that uses it below.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.training.algorithms.algorithm import Batch
from safediffusion.training.algorithms.awm import matching_log_prob
from safediffusion.training.algorithms.forward_process import Noised
from safediffusion.training.algorithms.grpo import ratio_statistics
from safediffusion.training.algorithms.nft import Nft
from safediffusion.training.algorithms.round_log import RoundLog


def pepg_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, proximal: float) -> Tensor:
    """Surrogate whose gradient is that of E_p[A] - proximal KL(p, p_old), (n,); its value means nothing.

    Args:
        log_prob: under the policy, (n,).
        old_log_prob: under the policy that sampled, (n,).
        advantages: (n,).
        proximal: weight of the KL.
    """
    log_ratio = (log_prob - old_log_prob).detach()
    return -log_ratio.exp() * (advantages - proximal * log_ratio) * log_prob


class Pepg(Nft):
    """Samples from NFT's old copy, which follows the policy slowly, and is held near it."""

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse a sharded network, which cannot sample from another set of weights.

        Raises:
            UserError: with what to set instead.
        """
        super().check(config)
        if config.train.shard:
            raise UserError(
                "train.algorithm=pepg samples from its old copy, which train.shard has in pieces; "
                "set train.shard=false or train.algorithm=nft"
            )

    def sample(self, batch: Batch) -> Tensor:
        """Clean latents of the old copy."""
        with self.learner.old_weights():
            return super().sample(batch)

    def loss(self, rows: Noised, advantages: Tensor, log: RoundLog) -> tuple[Tensor, Tensor]:
        """See `pepg_loss`; both estimates are from the rows' own noise."""
        old, predicted = self.predict_old(rows), self.predict(rows)
        density, old_density = (matching_log_prob(p, rows.target, rows.weight) for p in (predicted, old))
        log.add_ratio((density - old_density).detach())
        return pepg_loss(density, old_density, advantages, self.config.train.proximal), predicted

    def ratios(self, log: RoundLog) -> dict[str, Any]:
        """Of all rows of the round."""
        return ratio_statistics(torch.cat(log.ratios), self.config.train.clip_range)
