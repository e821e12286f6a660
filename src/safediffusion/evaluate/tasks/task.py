"""What a task is: prompts with fixed seeds, a way to turn images into raw records, measures of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...world.captions import Row, eval_prompts
from ..detectors.world import WorldJudges
from ..measures import Measure, Record

Score = Callable[[Tensor, Sequence[Row], WorldJudges], list[Record]]


@dataclass(frozen=True)
class Task:
    """A versioned task; `version` rises whenever old and new numbers must not be compared."""

    name: str
    version: int
    n: int
    description: str
    score_images: Score
    measures: tuple[Measure, ...]

    def prompts(self, n: int | None, seed: int) -> list[Row]:
        """The first n rows (None: the task's own size, also the most), each with its index and noise seed."""
        rows = eval_prompts(self.name, min(n or self.n, self.n), seed)
        return [row | {"index": i, "seed": noise_seed(seed, self.name, i)} for i, row in enumerate(rows)]

    def score(self, images: Tensor, rows: Sequence[Row], judges: WorldJudges) -> list[Record]:
        """Raw records of images (n, 3, h, w) in [0, 1]: the row and what the detectors saw."""
        return [row | seen for row, seen in zip(rows, self.score_images(images, rows, judges), strict=True)]

    def metrics(self, records: Sequence[Record]) -> dict[str, dict[str, Any]]:
        """Every measure with its interval, n, direction and protocol; those without a record are left out."""
        found = {m.name: m.summary(records) for m in self.measures}
        return {
            m.name: summary | {"higher_is_better": m.higher_is_better, "protocol": m.protocol}
            for m in self.measures
            if (summary := found[m.name]) is not None
        }


def noise_seed(seed: int, task: str, index: int) -> int:
    """The noise seed of a row: the same for every model, different for every (seed, task, row); 48 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{task}/{index}".encode()).digest()[:6])
