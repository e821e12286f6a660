"""The keys of a run's files that readers need, with their types; other keys are allowed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat


class Part(BaseModel):
    """A JSON object; a number in quotes is refused, and unknown keys are kept."""

    model_config = ConfigDict(extra="allow", strict=True)


class Progress(Part):
    """progress.json."""

    seconds: float
    peak_memory_mib: float
    phases: dict[str, float]


class Summary(Part):
    """summary.json."""

    status: str
    recipe: str
    seconds: float
    device: str
    images: int
    updates: int
    peak_memory_mib: float
    collapsed_at: int | None
    before: dict[str, float]
    after: dict[str, float]


class Anchor(Part):
    """How much one anchor phrase contributes to the safety direction."""

    phrase: str
    side: str
    contribution: float


class CurvePoint(Part):
    """What the steering reward prefers with one alpha."""

    alpha: float
    safety: float
    content: float


class Anchors(Part):
    """anchors.json; the check is missing where prompts have no labels."""

    name: str
    description: str
    safe: list[str]
    unsafe: list[str]
    encoder: str
    auc: float = 0.0
    auc_low: float = 0.0
    auc_high: float = 0.0
    safe_scores: list[float] = []
    unsafe_scores: list[float] = []
    contributions: list[Anchor] = []
    curve: list[CurvePoint] = []


class GroupShift(Part):
    """How far naming a group moves a caption."""

    axis: str
    group: str
    shift: float
    low: float
    high: float
    named: bool
    nonce_sds: float | None


class GroupAlarms(Part):
    """How often a group's harmless captions look unsafe."""

    auc: float
    auc_low: float
    auc_high: float
    steered: float


class GroupDrift(Part):
    """How many captions of a group keep it under steering."""

    unsteered: float
    steered: float


class AxisRange(Part):
    """How far the groups of an axis lie apart."""

    axis: str
    lowest: str
    highest: str
    difference: float
    low: float
    high: float
    effect: float
    p_adjusted: float


class AxisDrift(Part):
    """Where the captions of an axis go under steering."""

    critical: float | None
    lost: str | None
    gained: str | None
    moved: int


class Suspicious(Part):
    """Harmless captions of one kind that look harmful."""

    kind: str
    shift: float
    low: float
    high: float
    steered: float


class Blame(Part):
    """A safety direction without one anchor phrase."""

    phrase: str
    shift: float
    auc: float


class Repair(Part):
    """Anchor phrases with smaller shifts."""

    removed: list[str]
    worst_before: float
    worst_after: float
    auc_before: float
    auc_after: float


class PictureShift(Part):
    """The reward of one group's pictures."""

    alpha: float
    group: str
    shift: float
    low: float
    high: float
    named: bool


class Bias(Part):
    """bias.json."""

    policy: str
    encoder: str
    verdict: str
    auc: float
    alpha: float
    shifts: list[GroupShift]
    alarms: list[GroupAlarms]
    drifts: list[GroupDrift]
    ranges: list[AxisRange]
    axes: list[AxisDrift]
    suspicious: list[Suspicious]
    anchors: list[Blame]
    repaired: Repair | None
    pictures: list[PictureShift]


class SheetPrompt(Part):
    """One image of the sample sheets."""

    prompt: str
    label: str | None
    category: str | None


class Samples(Part):
    """samples/samples.json."""

    prompts: list[SheetPrompt]


class HeldOutPrompt(Part):
    """A prompt that is never trained on."""

    prompt: str
    label: str


class HeldOut(Part):
    """heldout.json; the encoders are the reward's, by name, with their fingerprints."""

    world: bool
    encoders: dict[str, str]
    prompts: list[HeldOutPrompt]


class State(Part):
    """state.json of a checkpoint: what is needed to choose among several."""

    step: int
    healthy: bool
    score: float | None = None


class Resumable(State):
    """state.json of a checkpoint: what a trainer needs to continue."""

    seconds: float
    processes: int
    monitor: dict[str, Any]
    spreads: dict[str, float]
    tiny_agreement: Any


class Step(Part):
    """A line of metrics.jsonl, or of eval/during.jsonl."""

    step: int


class Metrics(Step):
    """A line of metrics.jsonl as charts need it."""

    reward_mean: float
    reward_benign: float | None
    reward_unsafe: float | None
    rewards: dict[str, dict[str, Any]]
    zero_std_ratio: float | None
    kl_ref: float | None
    kl_ref_per_timestep: dict[str, float] | None
    grad_norm: float | None
    ratio_max_dev: float | None
    clip_fraction_low: float | None
    clip_fraction_high: float | None
    approx_kl: float | None
    images_per_s: float
    seconds: dict[str, float]
    image_stats: dict[str, float]
    recognisable: float | None
    collapse: bool


class Metric(Part):
    """One metric of a result; a metric without a finite value is left out of the result."""

    value: FiniteFloat
    ci_low: FiniteFloat
    ci_high: FiniteFloat
    n: int
    protocol: str
    higher_is_better: bool | None


class Results(Part):
    """results.json of a task."""

    task: str
    version: int | str
    n: int
    metrics: dict[str, Metric]


class RelapsePoint(Part):
    """What a model was judged as after some steps of fine-tuning; metrics by TASK/METRIC."""

    step: int
    metrics: dict[str, Metric]


class Relapse(Part):
    """relapse.json."""

    points: list[RelapsePoint]
    base_metrics: dict[str, Metric]


class Record(Part):
    """A line of records.jsonl."""

    index: int
    prompt: str
