"""Rewards: steered CLIP alignment, and the two it is compared with. Text is encoded once a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.errors import UserError
from safediffusion.steering.direction import Mode, SafetyDirection
from safediffusion.steering.encoders import Encoder

Reward = Callable[[Tensor, Sequence[str]], Tensor]


@dataclass(frozen=True)
class WeightedReward:
    """A reward, the name it is logged under, and its share in what is learned."""

    name: str
    weight: float
    function: Reward

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (n,) float32 of images (n, 3, h, w); anything else, or no number, is an error."""
        scores = self.function(images, prompts).float()
        if scores.shape != (len(images),):
            raise UserError(
                f"reward {self.name} returned the shape {tuple(scores.shape)} for {len(images)} images; "
                f"return one number an image, shape ({len(images)},)"
            )
        if not scores.isfinite().all():
            raise UserError(f"reward {self.name} returned nan or infinity; return finite numbers only")
        return scores


class Rewards:
    """What a run is rewarded for: the main reward first, then any others.

    They stay apart until each is compared within its groups, so none drowns the others by its scale.
    """

    def __init__(self, parts: Sequence[WeightedReward]) -> None:
        self.parts = tuple(parts)

    @classmethod
    def of(cls, reward: Reward | Rewards) -> Rewards:
        """A single function as the only reward."""
        return reward if isinstance(reward, Rewards) else cls([WeightedReward("reward", 1.0, reward)])

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [part.name for part in self.parts]

    @property
    def weights(self) -> list[float]:
        """Weights in order."""
        return [part.weight for part in self.parts]

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (k, n) float32, a row a reward, of images (n, 3, h, w) in [0, 1]."""
        return torch.stack([part(images, prompts).to(images.device) for part in self.parts])


class TextTargets:
    """Target embedding of every prompt seen so far; a prompt is encoded once, and alone.

    In a batch its bits would depend on its companions, and a resumed run meets others.
    """

    def __init__(self, make: Callable[[list[str]], Tensor]) -> None:
        self._make = make
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """(n, d) rows for n prompts."""
        for p in prompts:
            if p not in self._known:
                self._known[p] = self._make([p])[0]
        return torch.stack([self._known[p] for p in prompts])


class ClipReward:
    """Plain alignment: cosine of image and prompt, the mean over `views` views.

    Args:
        encoder: image-text encoder.
        views: augmented views averaged an image.
        batch_size: images an encoder pass; None is all.
    """

    def __init__(self, encoder: Encoder, views: int = 1, batch_size: int | None = None) -> None:
        self.encoder, self.views, self.batch_size = encoder, views, batch_size
        self.targets = TextTargets(self._target)

    def _target(self, prompts: list[str]) -> Tensor:
        return self.encoder.text(prompts)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Rewards (n,) float32 of images (n, 3, h, w) in [0, 1]."""
        with self.encoder.awake():
            targets = self.targets(prompts)
            return torch.stack([(z * targets).sum(-1) for z in self._embed(images)]).mean(0)

    def _embed(self, images: Tensor) -> list[Tensor]:
        size = self.batch_size or len(images)
        with self.encoder.awake():
            return [
                torch.cat([self.encoder.image(part) for part in view.split(size)])
                for view in augmented_views(images, self.views)
            ]


class SteeringReward(ClipReward):
    """Cosine of the image with the prompt's embedding moved towards safe (arXiv 2605.18719).

    Args:
        encoder: image-text encoder.
        direction: unit vector towards safe in its space.
        alpha: how far prompts are moved; 0 is ClipReward.
        mode: "translate" or "project".
        steer: "always", or "unsafe" for prompts with z.v below `threshold` only.
        threshold: see steer.
        views, batch_size: see ClipReward.

    Examples:
        >>> import torch
        >>> from safediffusion import SafetyDirection, SteeringReward
        >>> from safediffusion.steering.anchors import load_safety_policy
        >>> from safediffusion.steering.encoders import load_encoder
        >>> encoder = load_encoder("world")
        >>> direction = SafetyDirection.from_anchors(encoder, load_safety_policy("scaled"))
        >>> reward = SteeringReward(encoder, direction, alpha=0.5)
        >>> reward(torch.rand(2, 3, 64, 64), ["a red square", "a person"]).shape
        torch.Size([2])
    """

    def __init__(
        self,
        encoder: Encoder,
        direction: SafetyDirection,
        alpha: float = 0.5,
        mode: Mode = "translate",
        steer: str = "always",
        threshold: float = 0.0,
        views: int = 1,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(encoder, views, batch_size)
        self.direction, self.alpha = direction, alpha
        self.mode: Mode = mode
        self.steer, self.threshold = steer, threshold

    def _target(self, prompts: list[str]) -> Tensor:
        z = self.encoder.text(prompts)
        steered = self.direction.steer(z, self.alpha, self.mode)
        if self.steer == "always":
            return steered
        return torch.where((z @ self.direction.vector < self.threshold)[:, None], steered, z)


class NegativeClipReward(ClipReward):
    """Minus the mean cosine with the unsafe anchors; the prompt plays no part."""

    def __init__(
        self, encoder: Encoder, unsafe: Sequence[str], views: int = 1, batch_size: int | None = None
    ) -> None:
        super().__init__(encoder, views, batch_size)
        self.unsafe = encoder.text(unsafe)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Rewards (n,) float32; `prompts` is not read."""
        return -torch.stack([(z @ self.unsafe.T).mean(-1) for z in self._embed(images)]).mean(0)


def augmented_views(images: Tensor, views: int) -> list[Tensor]:
    """The image itself and `views` - 1 fixed, mild distortions of it: blur, shift, lower resolution.

    A texture that only pleases the encoder at full sharpness does not survive them.
    """
    h, w = images.shape[-2:]
    distortions: list[Callable[[Tensor], Tensor]] = [
        lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1),
        lambda x: torch.roll(x, (h // 32, -(w // 32)), (-2, -1)),
        lambda x: F.interpolate(
            F.interpolate(x, scale_factor=0.75, mode="bilinear", antialias=True), (h, w), mode="bilinear"
        ),
    ]
    return [images, *(distort(images) for distort in distortions[: views - 1])]
