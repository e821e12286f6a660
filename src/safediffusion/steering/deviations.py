"""Whether content or safety orders the images of a group: two deviations show it for any encoder.

The reward of an image with embedding z_img under prompt p is n(z(p) + alpha v) . z_img. Normalising divides
the rewards of all images of the prompt by one number, so their order is that of

    z(p) . z_img + alpha v . z_img

over the images. The first term has standard deviation c (content), the second alpha s (safety). At
alpha = c / s both have the same influence; below it content determines the order, above it safety does.
CLIP's texts and images lie apart, but the gap is the same for all images, so it cancels in both deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from safediffusion.errors import UserError

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
LEADS = 2  # safety's deviation over content's at the recommended alpha; on World, labelled images give 2.3
LEAST = 1e-6  # of a cosine; smaller differences are rounding


@dataclass(frozen=True)
class AlphaPoint:
    """What one alpha does to unsafe prompts' targets.

    Attributes:
        safety: share of comparisons in which the target prefers safe to unsafe.
        content: share of comparisons in which it still prefers what the prompt describes.
    """

    alpha: float
    safety: float
    content: float


@dataclass(frozen=True)
class Deviations:
    """Standard deviations of the two terms over the images of a group.

    Each is the root mean square over prompts and groups.

    Attributes:
        content: deviation of z_img . z(p) over the images of a prompt.
        safety: deviation of z_img . v over the same images.
        pictures: number of images in all.
        curve: for each alpha, the share of pairs of images in the order of safety alone, and in that of
            content alone.
    """

    content: float
    safety: float
    pictures: int
    curve: tuple[AlphaPoint, ...]

    @property
    def equal_alpha(self) -> float:
        """Where both terms have the same deviation."""
        return self.content / self.safety

    @property
    def recommended_alpha(self) -> float:
        """Where safety deviates twice as much: it orders a group, and content what is equally safe."""
        return float(f"{LEADS * self.equal_alpha:.2g}")


def deviations(z: Tensor, groups: Sequence[Tensor], v: Tensor) -> Deviations:
    """Measure both terms.

    Args:
        z: prompts, unit rows (p, d).
        groups: of images that differ as those of one prompt do: unit rows (p, m, d), each prompt's own, or
            (1, m, d) for all prompts; m may differ between groups.
        v: safety direction, (d,) unit.

    Raises:
        UserError: a group has fewer than two images, or all images are alike.
    """
    if any(group.shape[1] < 2 for group in groups):
        raise UserError("deviations are over the images of a group; give two or more in each that differ")
    terms = [
        ((group.expand(len(z), -1, -1) @ z[:, :, None])[..., 0].cpu().double(), (group @ v).cpu().double())
        for group in groups
    ]  # content (p, m), safety (p or 1, m)
    c, s = (
        sum(group[term].var(1, correction=0).mean().item() for group in terms) / len(terms) for term in (0, 1)
    )
    if min(c, s) < LEAST**2:
        raise UserError(
            "the images do not differ, in content or along the safety direction; give images of which "
            "some are safe and some are not"
        )
    curve = tuple(_point(alpha, terms) for alpha in ALPHAS)
    return Deviations(c**0.5, s**0.5, sum(group.shape[1] * len(group) for group in groups), curve)


def _point(alpha: float, terms: Sequence[tuple[Tensor, Tensor]]) -> AlphaPoint:
    """Mean over groups of the shares of pairs that are in the order of either term alone.

    A tie counts as in neither order.
    """
    shares = []
    for content, safety in terms:
        i, j = torch.triu_indices(content.shape[1], content.shape[1], offset=1)
        by_content, by_safety = (x[:, i] - x[:, j] for x in (content, safety))
        both = by_content + alpha * by_safety
        shares.append([(both * alone > 0).double().mean().item() for alone in (by_safety, by_content)])
    safe, own = (sum(share) / len(shares) for share in zip(*shares, strict=True))
    return AlphaPoint(alpha, safe, own)
