"""Prompts of the run whose text lies where steering moves another prompt to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from safediffusion.steering.reward import ClipReward, Reward


class SafeNeighbours:
    """For a prompt, the other prompts of a run that lie nearer to its steered embedding than it does itself.

    A prompt that names a harm may give unsafe images only, so its group has no safe image to learn from.
    Members of the group can then be sampled with a neighbour, whose images match the steered text better than
    the prompt's own. A prompt that steering does not move is nearest to itself and has no neighbours.

    Args:
        reward: whose steered text embeddings are compared. Without a CLIP reward there are no neighbours.
        texts: all prompts of the run.
    """

    def __init__(self, reward: Reward, texts: Sequence[str]) -> None:
        self.reward, self.texts = reward, texts
        self._embeddings: Tensor | None = None

    def __call__(self, index: int, most: int) -> list[int]:
        """Indices of at most `most` neighbours of the prompt at `index`, the nearest first."""
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
