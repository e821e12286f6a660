"""How well a safety policy separates safe from unsafe prompts, measured before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from scipy.stats import bootstrap, mannwhitneyu
from torch import Tensor

from safediffusion.errors import UserError
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.deviations import ALPHAS, AlphaPoint, Deviations, deviations
from safediffusion.steering.direction import SafetyDirection, safety_direction, steer
from safediffusion.steering.encoders import Encoder

BOOTSTRAP_SEED = 0
MOST = 1000  # prompts of a kind: more would narrow the interval little and fill the memory
MOST_IMAGES = 100  # of a group; all pairs are compared


@dataclass(frozen=True)
class Anchor:
    """A phrase and what it adds: AUC with all anchors minus AUC without this one."""

    phrase: str
    side: str
    contribution: float


@dataclass(frozen=True)
class PolicyCheck:
    """All that `anchors check` reports.

    Attributes:
        auc, auc_low, auc_high: how well z.v separates the prompts, with its 95% bootstrap interval.
        safe_scores, unsafe_scores: z.v of each prompt.
        curve: one point per alpha, measured on images of World or on texts.
        compared: what the curve was measured on, "pictures" or "texts".
        deviations: of the two terms of the reward over images; None without images.
        given: whether the user gave images; their deviations then determine the recommended alpha.
    """

    policy: SafetyPolicy
    encoder: str
    auc: float
    auc_low: float
    auc_high: float
    safe_scores: np.ndarray
    unsafe_scores: np.ndarray
    anchors: tuple[Anchor, ...]
    curve: tuple[AlphaPoint, ...]
    compared: str
    deviations: Deviations | None = None
    given: bool = False

    @property
    def recommended_from(self) -> str:
        """What the recommended alpha was taken from."""
        if self.given:
            return "the given images: safety deviates twice as much as content there"
        if self.compared == "pictures":
            return "World's images, the best mean of both columns"
        return "texts alone, the best mean of both columns; images (--images) may say otherwise"

    @property
    def recommended_alpha(self) -> float:
        """From the deviations over given images, else the alpha with the best mean of safety and content.

        Of several equally good ones it is the smallest.
        """
        if self.given and self.deviations:
            return self.deviations.recommended_alpha
        return max(self.curve, key=lambda point: (round(point.safety + point.content, 4), -point.alpha)).alpha


def auc(safe: np.ndarray, unsafe: np.ndarray) -> float:
    """Chance that a safe score is above an unsafe one, ties counting half."""
    return float(mannwhitneyu(safe, unsafe).statistic / (len(safe) * len(unsafe)))


def auc_interval(safe: np.ndarray, unsafe: np.ndarray, resamples: int = 500) -> tuple[float, float]:
    """95% percentile bootstrap over prompts."""
    result = bootstrap(
        (safe, unsafe),
        auc,
        vectorized=False,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def check_policy(
    policy: SafetyPolicy,
    encoder: Encoder,
    safe_prompts: Sequence[str],
    unsafe_prompts: Sequence[str],
    groups: Sequence[Sequence[Tensor]] = (),
) -> PolicyCheck:
    """How well a policy's direction separates prompts, which anchors help, and which alpha to take.

    Of more than 1,000 prompts of a kind a random 1,000 are taken, the same every time.

    Args:
        policy: the anchors.
        encoder: whose space it is.
        safe_prompts, unsafe_prompts: two or more each.
        groups: of images (3, h, w) in [0, 1]; each holds images of one unsafe prompt, some of them safe.
    """
    if len(safe_prompts) < 2 or len(unsafe_prompts) < 2:
        raise UserError(
            f"a check needs safe and unsafe prompts, but got {len(safe_prompts)} and {len(unsafe_prompts)}; "
            "give a file with a `label` column of benign and unsafe"
        )
    direction = SafetyDirection.from_anchors(encoder, policy)
    safe, unsafe = (encoder.text(some(prompts)) for prompts in (safe_prompts, unsafe_prompts))
    safe_scores, unsafe_scores = (scores(z, direction.vector) for z in (safe, unsafe))
    whole = auc(safe_scores, unsafe_scores)
    low, high = auc_interval(safe_scores, unsafe_scores)
    measured = None
    if encoder.name == "world":
        (curve, measured), compared = world_curve(encoder, direction.vector), "pictures"
    else:
        curve, compared = text_curve(encoder, direction, unsafe, torch.cat([safe, unsafe])), "texts"
    if groups:
        measured = deviations(unsafe, [embedded(encoder, group)[None] for group in groups], direction.vector)
    anchors = contributions(policy, encoder, safe, unsafe, whole)
    separation = (whole, low, high, safe_scores, unsafe_scores)
    return PolicyCheck(policy, encoder.name, *separation, anchors, curve, compared, measured, bool(groups))


def embedded(encoder: Encoder, images: Sequence[Tensor]) -> Tensor:
    """Embeddings, unit rows (m, d), of images of any sizes; of more than 100 a seeded choice."""
    order = np.random.default_rng(BOOTSTRAP_SEED).permutation(len(images))[:MOST_IMAGES].tolist()
    return torch.cat([encoder.image(images[i][None]) for i in sorted(order)])


def some(prompts: Sequence[str]) -> list[str]:
    """All prompts, or a seeded choice of 1,000 if there are more."""
    order: list[int] = np.random.default_rng(BOOTSTRAP_SEED).permutation(len(prompts)).tolist()
    return [prompts[i] for i in sorted(order[:MOST])]


def scores(z: Tensor, v: Tensor) -> np.ndarray:
    """z.v of unit rows, (n,)."""
    return (z @ v).cpu().numpy()


def contributions(
    policy: SafetyPolicy, encoder: Encoder, safe: Tensor, unsafe: Tensor, whole: float
) -> tuple[Anchor, ...]:
    """Leave one anchor out at a time; the largest contribution first."""
    found = []
    rows = {
        "safe": encoder.text(policy.safe) if policy.safe else unsafe[:0],
        "unsafe": encoder.text(policy.unsafe),
    }
    for side, phrases in (("safe", policy.safe), ("unsafe", policy.unsafe)):
        for i, phrase in enumerate(phrases if len(phrases) > 1 else ()):
            rest = rows | {side: torch.cat([rows[side][:i], rows[side][i + 1 :]])}
            v = safety_direction(rest["safe"], rest["unsafe"])
            found.append(Anchor(phrase, side, whole - auc(scores(safe, v), scores(unsafe, v))))
    return tuple(sorted(found, key=lambda anchor: -anchor.contribution))


def text_curve(
    encoder: Encoder, direction: SafetyDirection, unsafe: Tensor, everything: Tensor
) -> tuple[AlphaPoint, ...]:
    """The curve on texts instead of images: anchor phrases for safety, all prompts for other content."""
    policy = direction.policy
    good = encoder.text(policy.safe) if policy.safe else direction.vector[None]
    bad = encoder.text(policy.unsafe)
    points = []
    for alpha in ALPHAS:
        target = steer(unsafe, direction.vector, alpha)
        safety = ((target @ good.T)[:, :, None] > (target @ bad.T)[:, None]).float().mean()
        own = (target * unsafe).sum(-1, keepdim=True)
        content = 1 - (target @ everything.T > own + 1e-6).float().mean()
        points.append(AlphaPoint(alpha, float(safety), float(content)))
    return tuple(points)


def world_curve(encoder: Encoder, v: Tensor, per_kind: int = 20) -> tuple[tuple[AlphaPoint, ...], Deviations]:
    """The curve and deviations on rendered scenes: the harm, its safe counterpart, and other safe scenes.

    Half of the prompts name their harm, because those need a larger alpha than others. The deviations
    are over the first two kinds, so half of each group is safe.
    """
    from safediffusion.world.captions import harm_row
    from safediffusion.world.networks.images import render_batch
    from safediffusion.world.scenes import CATEGORIES, make_benign, make_harm, random_scene

    rng = np.random.default_rng(BOOTSTRAP_SEED)
    kinds = [(category, kind) for category in CATEGORIES for kind in ("explicit", "implicit")]
    rows = [harm_row(rng, *kind) for kind in kinds for _ in range(per_kind)]
    harmful = encoder.image(render_batch([make_harm(rng, row["category"], row["place"]) for row in rows]))
    matching = encoder.image(render_batch([make_benign(rng, row["place"]) for row in rows]))
    drawn = (random_scene(rng) for _ in range(200 * per_kind))
    others = list(islice((scene for scene in drawn if scene.harm is None), len(rows)))
    other = encoder.image(render_batch(others))
    z = encoder.text([row["prompt"] for row in rows])
    points = []
    for alpha in ALPHAS:
        target = steer(z, v, alpha)
        own = (target * matching).sum(-1)
        safety = (own > (target * harmful).sum(-1)).float().mean()
        content = (own > (target * other).sum(-1)).float().mean()
        points.append(AlphaPoint(alpha, float(safety), float(content)))
    return tuple(points), deviations(z, [torch.stack([harmful, matching], 1)], v)
