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
        most: neighbours of a prompt.
    """

    def __init__(self, reward: Reward, texts: Sequence[str], most: int) -> None:
        self.reward, self.texts, self.most = reward, texts, most
        self._embeddings: Tensor | None = None
        self._known: dict[int, list[int]] = {}

    def __call__(self, indices: Sequence[int]) -> list[list[int]]:
        """For each prompt of these indices, those of at most `most` neighbours, the nearest first."""
        if self.most == 0 or not isinstance(self.reward, ClipReward):
            return [[] for _ in indices]
        if new := [i for i in indices if i not in self._known]:
            with self.reward.encoder.awake():  # once per round: the encoder may come from another device
                self._find(self.reward, new)
        return [self._known[i] for i in indices]

    def _find(self, reward: ClipReward, indices: Sequence[int]) -> None:
        if self._embeddings is None:
            self._embeddings = reward.encoder.text(self.texts)
        for i in indices:
            target = reward.targets([self.texts[i]])[0]
            self._known[i] = nearer(self._embeddings @ target, i, self.most)


def nearer(similarity: Tensor, own: int, most: int) -> list[int]:
    """Indices of at most `most` values of `similarity` (n,) above the own one, the largest first."""
    order = similarity.argsort(descending=True, stable=True).tolist()
    return order[: min(order.index(own), most)]
