"""The result in words; each claim rests on a paired interval that excludes zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from safediffusion.evaluation import headlines
from safediffusion.report.metric_changes import MetricChange, number

RISKY = "world-i2p/inappropriate_rate"
SAFETY = (
    RISKY,
    "world-exposed/total",
    "heldout/rece-rate/unsafe",
    "heldout/q16/unsafe",
    "heldout/zero-shot/unsafe",
    *(name for name in headlines.SAFETY if name != RISKY and not name.startswith("heldout/rece")),
)
QUALITY = (
    "heldout/clip_t/benign",
    "heldout/observer_t/benign",
    "heldout/person_rate/benign",
    "heldout/world-person/benign",
    "world-geneval/overall",
    "world-benign/clip_t",
    "geneval/overall",
    "clip/clip_t",
    "fid/clip_t",
    "world-benign/fid",
    "world-i2p/unrecognisable_rate",
)


@dataclass(frozen=True)
class Verdict:
    """A headline, its tone (good, mixed, bad or plain), and one sentence per headline metric."""

    headline: str
    tone: str
    sentences: tuple[str, ...]


def headline_changes(rows: Sequence[MetricChange]) -> list[MetricChange]:
    """The most important metrics; where none of them was measured, the first of each task.

    A detector that sees through the reward's own encoder is no evidence: the training raised what it reads.
    """
    independent = [change for change in rows if not change.by_reward]
    by_name = {change.name: change for change in independent}
    chosen = [by_name[name] for name in (*SAFETY, *QUALITY) if name in by_name]
    return chosen or list({change.task: change for change in reversed(independent)}.values())[::-1]


def verdict(rows: Sequence[MetricChange], summary: dict[str, Any]) -> Verdict:
    """Did the model become safer, and at what cost?

    Args:
        rows: all metrics of the run.
        summary: contents of summary.json; empty while the run goes on.
    """
    chosen = headline_changes(rows)
    words = (*sentences(chosen), *not_independent(rows))
    if not summary:
        return Verdict("This run has not finished.", "plain", words)
    if summary["status"] == "collapsed":
        step = summary["collapsed_at"]
        alarm = f"The collapse alarm fired at round {step}: the reward rose while the images degraded."
        return Verdict("The run shows signs of reward hacking.", "bad", (alarm, *words))
    if not rows:
        nothing = "No task was evaluated both before and after training, so its effect is unknown."
        return Verdict("The run is finished.", "plain", (nothing,))
    if any(any(change.failed) for change in rows):
        headline, tone = _headline(chosen)
        before, after = (max(change.failed[side] for change in rows) for side in (0, 1))
        lost = f"Up to {before} images per task failed before and {after} after; the metrics exclude them."
        return Verdict(headline, "mixed" if tone == "good" else tone, (lost, *words))
    return Verdict(*_headline(chosen), words)


def _headline(chosen: Sequence[MetricChange]) -> tuple[str, str]:
    safety = [change.better for change in chosen if change.name in SAFETY]
    costs = [
        in_sentence(change.title) for change in chosen if change.name not in SAFETY and change.better is False
    ]
    if not safety:
        return "Safety was not measured.", "plain"
    if False in safety:
        return "The model became less safe.", "bad"
    if True not in safety:
        return "No clear change in safety.", "plain"
    if len(safety) == len(chosen):
        return "The model became safer; what it cost was not measured.", "mixed"
    if costs:
        return f"The model became safer, at a cost in {_listed(costs)}.", "mixed"
    return "The model became safer, with no clear loss of quality.", "good"


def _listed(words: Sequence[str]) -> str:
    if any("," in word for word in words):
        return "; ".join(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def in_sentence(title: str) -> str:
    """A metric's title inside a sentence; the names in it stay as they are."""
    return title[:1].lower() + title[1:]


def not_independent(rows: Sequence[MetricChange]) -> Iterator[str]:
    """One sentence where harm was judged by nothing but the reward's own encoder."""
    judged = [change for change in rows if change.name in SAFETY]
    if judged and all(change.by_reward for change in judged):
        yield "Harm was judged only through the encoder of the reward, which is no independent evidence."


def sentences(chosen: Sequence[MetricChange]) -> Iterator[str]:
    """The headline metrics in words, those without a clear change together at the end."""
    for change in chosen:
        before, after = (
            number(change.before["value"], change.unit),
            number(change.after["value"], change.unit),
        )
        if change.better is None:
            continue
        if change.name == RISKY:
            a, b = (round(100 * side["value"]) for side in (change.before, change.after))
            yield f"Of 100 images of risky prompts, {a} were unsafe before and {b} are unsafe after."
        else:
            yield f"{change.title} {'improved' if change.better else 'worsened'} from {before} to {after}."
    if still := [in_sentence(change.title) for change in chosen if change.better is None]:
        yield f"No clear change in {_listed(still)}."
