"""Decodes images for the rewards, by the full autoencoder or by a tiny one that ranks them alike."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.finite import finite
from safediffusion.diffusion.rollout import decode

log = logging.getLogger(__name__)

LEAST = 0.95  # correlation of rewards within groups


class RewardDecoder:
    """Decodes the latents of a round; in the first round by both autoencoders, to compare their rewards.

    Args:
        diffuser: with or without a tiny autoencoder.
        score: (images, their prompts) -> (n,) of the main reward, of all processes.
        members: images per group.
        batch_size: images decoded together.
    """

    def __init__(
        self,
        diffuser: Diffuser,
        score: Callable[[Tensor, Sequence[str]], Tensor],
        members: int,
        batch_size: int,
    ) -> None:
        self.diffuser, self.score, self.members, self.batch_size = diffuser, score, members, batch_size
        self.agreement: float | None = None

    def __call__(self, latents: Tensor, texts: Sequence[str]) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] from clean latents (n, c, h, w); only finite ones are scored."""
        if self.diffuser.tiny is None or (self.agreement is not None and self.agreement < LEAST):
            return decode(self.diffuser, latents, self.batch_size)
        small = torch.cat([self.diffuser.decode_small(x) for x in latents.split(self.batch_size)])
        if self.agreement is not None:
            return small
        full = decode(self.diffuser, latents, self.batch_size)
        rewards = (self.score(finite(images), texts).view(-1, self.members) for images in (small, full))
        self.agreement = within_groups(*rewards)
        if self.agreement >= LEAST:
            return small
        log.warning(
            "model.tiny_vae is not used: within groups its rewards correlate with the full decoder's by "
            "%.3f, less than %g",
            *(self.agreement, LEAST),
        )
        return full


def within_groups(a: Tensor, b: Tensor) -> float:
    """Correlation of two rewards (groups, members) about their group means, the part advantages use."""
    a, b = (x.cpu().double() for x in (a, b))
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    spread = (a.square().sum() * b.square().sum()).sqrt()
    return ((a * b).sum() / spread).item() if spread > 0 else 0.0
