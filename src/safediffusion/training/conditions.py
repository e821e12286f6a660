"""Conditioning of a run's prompts, encoded when first drawn and kept off the device."""

from collections.abc import Sequence

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser

KEPT = 1000  # prompts; one of FLUX takes 8 MiB


class PromptConditions:
    """Each prompt is encoded alone, so that no batch changes a bit of it."""

    def __init__(self, diffuser: Diffuser, texts: Sequence[str]) -> None:
        self.diffuser, self.texts = diffuser, texts
        self._known: dict[int, Condition] = {}

    def __call__(self, indices: Sequence[int]) -> Condition:
        """One row a prompt, on the device."""
        with self.diffuser.awake():
            rows = [self._one(i) for i in indices]
        return Condition.cat(rows).to(self.diffuser.device)

    def _one(self, index: int) -> Condition:
        if index not in self._known:
            if len(self._known) == KEPT:
                self._known.clear()
            self._known[index] = self.diffuser.encode([self.texts[index]]).to("cpu")
        return self._known[index]
