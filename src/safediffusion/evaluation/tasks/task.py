"""What a task is: prompts, a sampler, detectors for the images, and measures of the detectors' output."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.failures import settled
from safediffusion.evaluation.forms import is_sound
from safediffusion.evaluation.measures import (
    FailureRate,
    FromReference,
    MeanOfRates,
    Measure,
    Record,
    Unmeasured,
)
from safediffusion.evaluation.prompt_sets import PromptFile
from safediffusion.evaluation.protocols import left_out
from safediffusion.evaluation.sampler import Sampler
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.world.captions import eval_prompts

File = PromptFile | Path | None
Rows = Callable[[int, int, File], list[Row]]

log = logging.getLogger(__name__)


BLANK_RATE = FailureRate(
    "blank_rate",
    False,
    "share of all images that show nothing: one colour within 4/255, or failed (not finite, missing, "
    "unreadable, or with nothing sound said about it)",
    lambda record: "error" in record,
)


@dataclass(frozen=True)
class Scores:
    """The metrics of a task's records.

    Attributes:
        metrics: by name, value, interval, n, direction and protocol.
        unmeasured: by name, why a metric is not among them.
        failed: by index of the image, why it counts in no metric.
    """

    metrics: dict[str, dict[str, Any]]
    unmeasured: dict[str, str]
    failed: dict[str, str]


@dataclass(frozen=True)
class Task:
    """A versioned task; `version` rises whenever old and new numbers must not be compared.

    Attributes:
        n: images at most; its own size.
        rows: (n, seed, file of the user's or None) to rows with "prompt"; "seed", "guidance", "width",
            "height" if the prompt set has them. All rows of a file are returned, also beyond n.
        detectors: names, or `pkg.mod:NAME`; if one is missing, only the measures that need it are left out.
        source, licence: of the prompts.
        sampler: the task's own; None is the caller's.
        samples: images per prompt, sampled one after the other from the prompt's seed.
        sensitive: whether it loads only if the user accepts sensitive prompts.
        batch: images between two writes to disk.
        bare: whether it is evaluated even where all of its detectors are missing.
        of_run: whether its prompts are those that the judged run held out, unless a file is given.
        world_detectors: take the place of `detectors` where the run is one of World.
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
    batch: int = 36  # a multiple of 1, 4 and 9 images per prompt
    bare: bool = False
    of_run: bool = False
    world_detectors: tuple[str, ...] = ()

    def prompts(self, n: int | None, seed: int, file: File = None) -> list[Row]:
        """The first n rows (None: the task's own size, also the most), each with its index and noise seed.

        Args:
            n: images at most.
            seed: of prompts that are drawn at random, and of noise if the prompt set has no seeds.
            file: the user's prompts; None is the published file.
        """
        size = min(n or self.n, self.n)
        return [
            {"seed": noise_seed(seed, self.name, i // self.samples), **row, "index": i}
            for i, row in enumerate(self.rows(size, seed, file)[:size])
        ]

    def not_used(self, n: int | None, seed: int, file: File = None) -> int:
        """How many rows of a prompt file `prompts` leaves out; it is logged."""
        size = min(n or self.n, self.n)
        rest = max(0, len(self.rows(size, seed, file)) - size)
        if rest:
            log.warning("%s uses the first %d of %d rows of its prompts", self.name, size, size + rest)
        return rest

    def __post_init__(self) -> None:
        """Add the share of blank images to every task's measures."""
        if BLANK_RATE not in self.measures:
            object.__setattr__(self, "measures", (*self.measures, BLANK_RATE))

    def metrics(
        self, records: Sequence[Record], protocols: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """The metrics of `score` alone."""
        return self.score(records, protocols).metrics

    def score(self, records: Sequence[Record], protocols: Sequence[str] | None = None) -> Scores:
        """Every measure with its interval, n, direction and protocol, and what failed.

        Where `protocols` are named, those of other protocols are left out.
        """
        records = settled(records, self.measures)
        metrics, unmeasured = {}, {}
        for measure in self.measures:
            if left_out(measure.name, protocols):
                continue
            try:
                about = {"higher_is_better": measure.higher_is_better, "protocol": measure.protocol}
                metrics[measure.name] = summarised(measure, usable(measure, records)) | about
            except Unmeasured as error:
                unmeasured[measure.name] = str(error)
        own = [r for r in records if not r.get("reference")]
        failed = {str(r.get("index", i)): str(r["error"]) for i, r in enumerate(own) if "error" in r}
        return Scores(metrics, unmeasured, failed)


def usable(measure: Measure, records: Sequence[Record]) -> list[Record]:
    """The settled records that a measure is taken over.

    References count only in a distance from them, and records that failed only in a rate of failures.

    Raises:
        Unmeasured: there are none, or the rest no longer represents what is measured.
    """
    if isinstance(measure, FailureRate):
        return [r for r in records if not r.get("reference")]
    distance = isinstance(measure, FromReference)
    if lost := distance and sum(bool(r.get("reference")) and "error" in r for r in records):
        raise Unmeasured(f"{lost} images of the reference failed")
    judged = [r for r in records if "error" not in r and (distance or not r.get("reference"))]
    if not any(not r.get("reference") for r in judged):
        raise Unmeasured("no image could be judged")
    if absent := [need for need in measure.needs if not any(need in r for r in judged)]:
        raise Unmeasured(f"no record holds {', '.join(absent)}")
    if isinstance(measure, MeanOfRates) and (gone := _groups(measure, records) - _groups(measure, judged)):
        raise Unmeasured(f"all images of {', '.join(sorted(gone))} failed")
    return judged


def _groups(measure: MeanOfRates, records: Sequence[Record]) -> set[str]:
    found = set()
    for record in records:
        with suppress(KeyError, TypeError):  # a damaged record may lack the group
            found.add(str(measure.group(record)))
    return found


def summarised(measure: Measure, records: Sequence[Record]) -> dict[str, Any]:
    """A measure's value, interval and n.

    Raises:
        Unmeasured: no record applies, or a number is not finite.
    """
    summary = measure.summary(records)
    if summary is None:
        raise Unmeasured("no judged image belongs to it")
    if not is_sound(summary):
        raise Unmeasured("its value or its interval is not finite")
    return summary


def noise_seed(seed: int, task: str, index: int) -> int:
    """The noise seed of a row: the same for every model, different for every (seed, task, row); 48 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{task}/{index}".encode()).digest()[:6])


def world_rows(name: str) -> Rows:
    """World's own prompts of a task; they are drawn at random, so a file is not read."""
    return lambda n, seed, file: eval_prompts(name, n, seed)


def world_task(
    name: str,
    version: int,
    n: int,
    description: str,
    detectors: tuple[str, ...],
    measures: tuple[Measure, ...],
) -> Task:
    """A task on World's own prompts of the same name, in batches of 64, with the caller's sampler."""
    return Task(
        name=name,
        version=version,
        n=n,
        description=description,
        rows=world_rows(name),
        detectors=detectors,
        measures=measures,
        source="drawn from World's own phrases",
        licence="Apache-2.0",
        batch=64,
    )


def without_minors(rows: Sequence[Row]) -> list[Row]:
    """The rows that do not sexualise minors; no option includes the others."""
    return [row for row in rows if not sexualises_minors(row["prompt"], row.get("categories", ()))]
