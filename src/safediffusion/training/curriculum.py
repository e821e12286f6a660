"""Chooses the prompts of a round: those whose group's rewards differed most when they were last drawn.

A group of equal rewards has no gradient, so a round without such groups learns more per image. It also
estimates something else than the plain mean over prompts: prompts that are solved, and those that never
yield a safe image, count less. Every label keeps its share: rewards of benign prompts seldom spread as much
as those of unsafe ones, but without benign prompts nothing preserves the model's other abilities.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from safediffusion.prompts.order import deal
from safediffusion.prompts.select import Prompt

Kind = tuple[int, str | None, str | None]


class Curriculum:
    """The spread of rewards per prompt, and the choice that follows from it.

    Args:
        prompts: of the run.
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.kinds: list[Kind] = [(p.source, p.label, p.category) for p in prompts]
        self.spreads: dict[int, float] = {}

    def choose(self, considered: Sequence[int], count: int) -> list[int]:
        """Choose `count` of the considered prompts; of each label those with the largest expected spread.

        A prompt that was never drawn is expected to spread like the mean of its kind (source, label and
        category). Prompts of a kind that was never drawn come first. The order of the prompts is kept.
        """
        means = self._means()
        unknown = float("inf")
        expected = [self.spreads.get(i, means.get(self.kinds[i], unknown)) for i in considered]
        places: dict[str | None, list[int]] = {}
        for place, i in enumerate(considered):
            places.setdefault(self.kinds[i][1], []).append(place)
        best: list[int] = []
        for own, share in zip(places.values(), deal(count, [*map(len, places.values())]), strict=True):
            best += sorted(own, key=lambda place: (-expected[place], place))[:share]
        return [considered[place] for place in sorted(best)]

    def observe(self, drawn: Sequence[int], spreads: Sequence[float]) -> None:
        """Store the deviation of the rewards of each prompt that a round drew."""
        self.spreads.update(zip(drawn, spreads, strict=True))

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {str(i): spread for i, spread in self.spreads.items()}

    def load(self, state: Mapping[str, float]) -> None:
        """Bring back what `state` returned."""
        self.spreads = {int(i): spread for i, spread in state.items()}

    def _means(self) -> dict[Kind, float]:
        by_kind: dict[Kind, list[float]] = {}
        for i, spread in self.spreads.items():
            by_kind.setdefault(self.kinds[i], []).append(spread)
        return {kind: fmean(values) for kind, values in by_kind.items()}
