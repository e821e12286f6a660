"""i2p and i2p-official: Inappropriate Image Prompts (Schramowski et al., 2023) under every protocol.

i2p is the common short form, one LMS image per prompt with the row's guidance, size and seed; i2p-official
samples ten. The two are different tasks.
"""

from __future__ import annotations

from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.measures import Keep, Measure
from safediffusion.evaluation.measures.clustered import ClusteredRate
from safediffusion.evaluation.measures.per_prompts import CountPer
from safediffusion.evaluation.prompt_sets import I2P, read_rows, repeated
from safediffusion.evaluation.protocols import PROTOCOLS, get_protocol
from safediffusion.evaluation.sampler import SCHEDULERS, Sampler
from safediffusion.evaluation.tasks.clip_t import CLIP_T
from safediffusion.evaluation.tasks.task import File, Rows, Task

CATEGORIES = ("hate", "harassment", "violence", "self-harm", "sexual", "shocking", "illegal activity")
SEXUAL = 931  # of I2P's prompts
PER_SEXUAL = f"per-{SEXUAL}-sexual"
SOURCE = "AIML-TUDA/i2p on the Hub, 4,703 prompts of users; never shipped"
BY = ("categories",)
BOXES_AND_Q16 = ("nudenet", "q16", "q16-finetuned")


def within(category: str) -> Keep:
    """Keeps the rows that have a category; a row can have several."""
    return lambda record: category in record["categories"]


def rows(samples: int) -> Rows:
    """I2P's rows, each `samples` times."""

    def read(n: int, seed: int, file: File) -> list[Row]:
        found = read_rows(file or I2P.path(), ("categories", "seed", "guidance"))
        return repeated(found, samples)

    return read


def by_category() -> tuple[Measure, ...]:
    """Every protocol over all images, then over each category."""
    return tuple(
        protocol.measure(category, within(category), BY) if category else protocol.measure()
        for protocol in PROTOCOLS.values()
        for category in ("", *CATEGORIES)
    )


def per_sexual() -> tuple[Measure, ...]:
    """Every protocol that sums, over the sexual prompts that are not skipped, scaled to all sexual prompts.

    More than a tenth of I2P's sexual prompts are skipped, which alone makes a sum smaller than a paper's.
    """
    note = f"; over the sexual prompts that are drawn, times {SEXUAL} / n"
    return tuple(
        CountPer(
            f"{p.name}/{PER_SEXUAL}", False, p.describe() + note, p, within("sexual"), (*p.needs, *BY), SEXUAL
        )
        for p in PROTOCOLS.values()
        if p.sums
    )


def clustered() -> tuple[Measure, ...]:
    """I2P's own metrics: the share of unsafe images, and the worst of 25 prompts."""
    official = get_protocol("i2p-official")
    return tuple(
        ClusteredRate(
            f"{kind}/{category}" if category else kind,
            False,
            official.describe() + note,
            official,
            within(category) if category else lambda record: True,
            (*official.needs, "prompt", *(BY if category else ())),
            draws,
        )
        for kind, note, draws in (
            ("inappropriateness", "; over all images, prompts resampled", 0),
            ("expected_max", "; expected maximum of a prompt's share over 25 different prompts", 25),
        )
        for category in ("", *CATEGORIES)
    )


TASK = Task(
    name="i2p",
    version=2,
    n=4703,
    description="4,703 real users' prompts, one image each: boxes and Q16 under every named protocol",
    rows=rows(1),
    detectors=(*BOXES_AND_Q16, "clip"),
    measures=(*by_category(), *per_sexual(), CLIP_T),
    source=SOURCE,
    licence=I2P.licence,
    sampler=Sampler(50, 7.5, name="lms", size=512, generator="cuda"),
    sensitive=True,
)
OFFICIAL = Task(
    name="i2p-official",
    version=2,
    n=47030,
    description="the same prompts, ten images each: inappropriateness probability and expected maximum",
    rows=rows(10),
    detectors=(*BOXES_AND_Q16, "clip"),
    measures=(*clustered(), CLIP_T),
    source=SOURCE,
    licence=I2P.licence,
    sampler=Sampler(50, 7.5, name="lms", size=512, generator="cuda"),
    samples=10,
    sensitive=True,
    batch=40,
)


def per_scheduler(n: int, seed: int, file: File) -> list[Row]:
    """I2P's sexual prompts, each once with every scheduler."""
    found = [row for row in rows(1)(4703, seed, file) if "sexual" in row["categories"]]
    return [row | {"sampler": name} for row in found for name in SCHEDULERS]


BY_SCHEDULER = Task(
    name="i2p-schedulers",
    version=2,
    n=SEXUAL * len(SCHEDULERS),
    description="I2P's sexual prompts under nine schedulers: does safety depend on the sampler?",
    rows=per_scheduler,
    detectors=("nudenet", "clip"),
    measures=(
        *(
            get_protocol("rece-rate").measure(name, lambda r, name=name: r["sampler"] == name, ("sampler",))
            for name in SCHEDULERS
        ),
        CLIP_T,
    ),
    source=SOURCE,
    licence=I2P.licence,
    sampler=Sampler(50, 7.5, name="row", size=512, generator="cuda"),
    sensitive=True,
)
