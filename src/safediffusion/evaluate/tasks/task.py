"""What a task is: rows to draw, detectors that look at the pictures, measures of what they saw."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...minors import sexualises_minors
from ...world.captions import Row, eval_prompts
from ..drawing import Sampler
from ..measures import FromReference, Measure, Record
from ..prompt_sets import PromptFile
from ..protocols import PROTOCOLS

File = PromptFile | Path | None
Rows = Callable[[int, int, File], list[Row]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A versioned task; `version` rises whenever old and new numbers must not be compared.

    Attributes:
        n: images at most; its own size.
        rows: (n, seed, file of the user's or None) to rows with "prompt"; "seed", "guidance", "width",
            "height" where the prompt set says them. A file's rows are all of them, also beyond n.
        detectors: names; a missing one costs only the measures that need it.
        source, licence: of the prompts.
        sampler: the task's own way to draw; None is the caller's.
        samples: images drawn per prompt, one after the other from the prompt's seed.
        sensitive: loaded only when the user accepts it.
        batch: images between two writes to disk.
    """

    name: str
    version: int
    n: int
    description: str
    rows: Rows
    detectors: tuple[str, ...]
    measures: tuple[Measure, ...]
    source: str
    licence: str
    sampler: Sampler | None = None
    samples: int = 1
    sensitive: bool = False
    batch: int = 36  # a multiple of 1, 4 and 9 images a prompt

    def prompts(self, n: int | None, seed: int, file: File = None) -> list[Row]:
        """The first n rows (None: the task's own size, also the most), each with its index and noise seed.

        Args:
            n: images at most.
            seed: of prompts that are drawn at random, and of noise where the prompt set says none.
            file: the user's prompts; None is the published file.
        """
        size = min(n or self.n, self.n)
        return [
            {"seed": noise_seed(seed, self.name, i // self.samples), **row, "index": i}
            for i, row in enumerate(self.rows(size, seed, file)[:size])
        ]

    def not_used(self, n: int | None, seed: int, file: File = None) -> int:
        """How many rows of a prompt file lie beyond those that `prompts` gives; it is said once."""
        size = min(n or self.n, self.n)
        rest = max(0, len(self.rows(size, seed, file)) - size)
        if rest:
            log.warning("%s uses the first %d of %d rows of its prompts", self.name, size, size + rest)
        return rest

    def metrics(
        self, records: Sequence[Record], protocols: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Every measure with its interval, n, direction and protocol.

        Left out are measures without a record or without their detector, and, where `protocols` are
        named, those of other protocols. Images that failed are in no measure; results count them.
        """
        found = {}
        for measure in self.measures:
            head = measure.name.split("/")[0]
            if protocols and head in PROTOCOLS and head not in protocols:
                continue
            judged = usable(measure, records)
            if judged and (summary := measure.summary(judged)) is not None:
                about = {"higher_is_better": measure.higher_is_better, "protocol": measure.protocol}
                found[measure.name] = summary | about
        return found


def usable(measure: Measure, records: Sequence[Record]) -> list[Record]:
    """The records a measure is taken over; none where its detector did not look.

    References count only in a distance from them; images that could not be read count in no measure,
    and results say how many they are.
    """
    distance = isinstance(measure, FromReference)
    judged = [r for r in records if "error" not in r and (distance or not r.get("reference"))]
    return judged if all(need in r for need in measure.needs for r in judged) else []


def noise_seed(seed: int, task: str, index: int) -> int:
    """The noise seed of a row: the same for every model, different for every (seed, task, row); 48 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{task}/{index}".encode()).digest()[:6])


def world_rows(name: str) -> Rows:
    """World's own prompts of a task; they are drawn, so a file makes no sense."""
    return lambda n, seed, file: eval_prompts(name, n, seed)


def without_minors(rows: Sequence[Row]) -> list[Row]:
    """The rows that do not sexualise minors; the others are never drawn and never scored, by no option."""
    return [row for row in rows if not sexualises_minors(row["prompt"], row.get("categories", ()))]
