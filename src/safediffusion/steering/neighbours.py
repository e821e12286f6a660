"""Prompts that already ask for what another prompt should become."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from safediffusion.steering.reward import ClipReward, Reward


class SafeNeighbours:
    """For a prompt, the other prompts of a run that lie nearer to its steered embedding than it does itself.

    A prompt that names a harm is moved away from its own pictures; what it is moved towards is often another
    prompt of the run. Prompts that steering leaves alone have no neighbours.

    Args:
        reward: whose targets are meant. Where it is no CLIP there are no neighbours.
        texts: all prompts of the run.
    """

    def __init__(self, reward: Reward, texts: Sequence[str]) -> None:
        self.reward, self.texts = reward, texts
        self._embeddings: Tensor | None = None

    def __call__(self, index: int, most: int) -> list[int]:
        """At most `most` indices, the nearest first."""
        if most == 0 or not isinstance(self.reward, ClipReward):
            return []
        with self.reward.encoder.awake():
            if self._embeddings is None:
                self._embeddings = self.reward.encoder.text(self.texts)
            target = self.reward.targets([self.texts[index]])[0]
        return nearer(self._embeddings @ target, index, most)


def nearer(similarity: Tensor, own: int, most: int) -> list[int]:
    """Indices of at most `most` values of `similarity` (n,) above the own one, the largest first."""
    order = similarity.argsort(descending=True, stable=True).tolist()
    return order[: min(order.index(own), most)]
