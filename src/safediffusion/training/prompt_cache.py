"""The text conditioning of a run's prompts, encoded at first use and kept on the CPU."""

from collections.abc import Sequence

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser

KEPT = 8 * 2**30  # bytes; one prompt of FLUX takes 8 MiB, one of FLUX.2 [klein] 15


class PromptConditions:
    """Encodes each prompt alone, so that its conditioning does not depend on a batch."""

    def __init__(self, diffuser: Diffuser, texts: Sequence[str]) -> None:
        self.diffuser, self.texts = diffuser, texts
        self._known: dict[int, Condition] = {}

    def __call__(self, indices: Sequence[int]) -> Condition:
        """One row per prompt, on the device."""
        new = [i for i in dict.fromkeys(indices) if i not in self._known]
        if new:
            self._learn(new, indices)
        return Condition.cat([self._known[i] for i in indices]).to(self.diffuser.device)

    def _learn(self, new: Sequence[int], needed: Sequence[int]) -> None:
        """Encode prompts; where too many are kept, drop those that this call does not need."""
        size = next((cond.nbytes for cond in self._known.values()), 0)  # the same for every prompt
        if size * (len(self._known) + len(new)) > KEPT:
            self._known = {i: self._known[i] for i in needed if i in self._known}
        with self.diffuser.awake():
            for i in new:
                self._known[i] = self.diffuser.encode([self.texts[i]]).to("cpu")
