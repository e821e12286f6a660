"""Which of the prompts in turn a round draws: those whose pictures were last told apart most by the reward.

A group of equal rewards teaches nothing. Rounds without such groups learn more an image, and something else:
the mean over prompts that they estimate leans towards prompts of much contrast, and away from those that are
solved and from those that are hopeless. Labels keep their shares: benign prompts seldom spread as
much as unsafe ones, and without them nothing holds what must be kept.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from safediffusion.prompts.order import deal
from safediffusion.prompts.select import Prompt

Kind = tuple[int, str | None, str | None]


class Curriculum:
    """Remembers the spread of rewards by prompt.

    Args:
        prompts: of the run.
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.kinds: list[Kind] = [(p.source, p.label, p.category) for p in prompts]
        self.spreads: dict[int, float] = {}

    def choose(self, considered: Sequence[int], count: int) -> list[int]:
        """Of each label's share of `count`, the considered prompts expected to spread most, in their order.

        A prompt that was never drawn is expected to spread like the mean of its kind (source, label and
        category); of a kind that was never drawn, more than all others.
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
        """What a round found: the deviation of each drawn prompt's rewards."""
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
