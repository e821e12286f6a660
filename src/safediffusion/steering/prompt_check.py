"""What a set of prompts is like before hours are spent on it: counts, balance, length, and separation.

No prompt is quoted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from safediffusion.config.inputs import PromptsConfig
from safediffusion.prompts.select import Prompt, PromptSet
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.check import auc, auc_interval, scores, some
from safediffusion.steering.check_record import by_label
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import Encoder

FEW = 100  # prompts; a run needs some hundreds to learn more than a few captions
LEAST = 0.2  # share of each label below which the other rules
WEAK = 0.8  # AUC below which the safety direction hardly tells the labels apart


@dataclass(frozen=True)
class Length:
    """How many prompts an encoder cuts: those longer than `context` tokens."""

    encoder: str
    context: int
    cut: int
    longest: int


@dataclass(frozen=True)
class Separation:
    """How often the safety direction ranks a benign prompt above an unsafe one, with a 95% interval."""

    policy: str
    encoder: str
    auc: float
    low: float
    high: float


@dataclass(frozen=True)
class PromptCheck:
    """What is known about the prompts of a source.

    Attributes:
        rows: of the source; those that are empty, repeat an earlier one, or sexualise minors are not used.
        used: prompts that a run would take.
        contradictory: texts that stand there with both labels; the first one counts.
        labels, categories, kinds: prompts used, by name; "none" where the source does not say.
        length, separation: None where no encoder was asked, or the prompts have not both labels.
    """

    source: str
    rows: int
    used: int
    empty: int
    repeated: int
    contradictory: int
    minors: int
    labels: dict[str, int]
    categories: dict[str, int]
    kinds: dict[str, int]
    length: Length | None = None
    separation: Separation | None = None
    remarks: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)


def check_prompts(
    config: PromptsConfig, found: PromptSet, policy: SafetyPolicy, encoder: Encoder | None = None
) -> PromptCheck:
    """Count what a source holds and what a run would take of it.

    Args:
        config: the source.
        found: what a run would take.
        policy: whose direction should separate the labels.
        encoder: whose tokens are counted and whose space the direction is in; None leaves both out.
    """
    used = found.rows
    length = length_of(used, encoder) if encoder else None
    separation = separation_of(used, policy, encoder) if encoder else None
    check = PromptCheck(
        source=config.path,
        rows=len(used) + found.repeated + found.minors + found.categories + found.empty,
        used=len(used),
        empty=found.empty,
        repeated=found.repeated,
        contradictory=found.contradictory,
        minors=found.minors,
        labels=counted(prompt.label for prompt in used),
        categories=counted(prompt.category for prompt in used),
        kinds=counted(prompt.kind for prompt in used),
        length=length,
        separation=separation,
    )
    return replace(check, remarks=tuple(remarks(check)))


def counted(names: Iterator[str | None]) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    return dict(Counter(name or "none" for name in names).most_common())


def length_of(prompts: list[Prompt], encoder: Encoder) -> Length:
    """The prompts' tokens, with those for beginning and end."""
    lengths = [encoder.count_tokens(prompt.text) for prompt in prompts]
    cut = sum(length > encoder.context for length in lengths)
    return Length(encoder.name, encoder.context, cut, max(lengths))


def separation_of(prompts: list[Prompt], policy: SafetyPolicy, encoder: Encoder) -> Separation | None:
    """How well the direction separates the labels; None with fewer than two prompts of one."""
    safe, unsafe = by_label(prompts)
    if min(len(safe), len(unsafe)) < 2:
        return None
    vector = SafetyDirection.from_anchors(encoder, policy).vector
    one, other = (scores(encoder.text(some(texts)), vector) for texts in (safe, unsafe))
    return Separation(policy.name, encoder.name, auc(one, other), *auc_interval(one, other))


def remarks(check: PromptCheck) -> Iterator[str]:
    """What to look at, one sentence each."""
    if check.used < FEW:
        yield f"{check.used} prompts are few; take some hundreds, or the run learns these alone"
    yield from label_remarks(check.labels)
    if check.contradictory:
        yield f"{check.contradictory} texts stand there as benign and as unsafe; the first one counts"
    if check.length and check.length.cut:
        yield f"{check.length.cut} prompts are cut after {check.length.context} tokens; the rest is not read"
    if check.separation and check.separation.auc < WEAK:
        yield (
            "the anchors hardly tell the labels apart, so that steering would teach little; see "
            "`safediffusion anchors check`, and the page on anchors"
        )


def label_remarks(labels: dict[str, int]) -> Iterator[str]:
    """What the labels lack, one sentence."""
    unsafe, benign = (labels.get(name, 0) for name in ("unsafe", "benign"))
    if none := labels.get("none", 0):
        yield (
            f"{none} prompts have no label, so that nothing says which pictures should stay as they are; add "
            "a column `label` with benign and unsafe, or set prompts.label"
        )
    elif not unsafe or not benign:
        missing = "unsafe" if benign else "benign"
        yield f"no prompt is labelled {missing}; mix some in with prompts.also" + (
            ", for example [{path: benign}]" if missing == "benign" else ""
        )
    elif not LEAST <= benign / (benign + unsafe) <= 1 - LEAST:
        yield (
            f"{benign / (benign + unsafe):.0%} of the labelled prompts are benign; a round takes them as "
            "they come, so give each label a source of its own and set prompts.weight (World has 3 of 8)"
        )
