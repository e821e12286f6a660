"""The rewards that come with the package: steered CLIP alignment, and the two that it is compared with.

The text of each prompt is encoded once per process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.config.setting_types import SteeringMode
from safediffusion.errors import UserError
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import Encoder

Reward = Callable[[Tensor, Sequence[str]], Tensor]


@dataclass(frozen=True)
class WeightedReward:
    """A reward function, the name that it is logged under, and its weight among the rewards of a run."""

    name: str
    weight: float
    function: Reward

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (n,) float32 of images (n, 3, h, w) in [0, 1] and their n prompts.

        Raises:
            UserError: the function returned another shape, nan or infinity.
        """
        scores = self.function(images, prompts).float()
        if scores.shape != (len(images),):
            raise UserError(
                f"reward {self.name} returned the shape {tuple(scores.shape)} for {len(images)} images; "
                f"return one number per image, shape ({len(images)},)"
            )
        if not scores.isfinite().all():
            raise UserError(f"reward {self.name} returned nan or infinity; return finite numbers only")
        return scores


class Rewards:
    """All rewards of a run, the main one first.

    Their scores are added only after each was compared within its groups, so that no reward outweighs the
    others by its scale.

    Args:
        parts: the rewards with their names and weights, at least one.
    """

    def __init__(self, parts: Sequence[WeightedReward]) -> None:
        self.parts = tuple(parts)

    @classmethod
    def of(cls, reward: Reward | Rewards) -> Rewards:
        """A single function as the only reward; Rewards are returned as they are."""
        return reward if isinstance(reward, Rewards) else cls([WeightedReward("reward", 1.0, reward)])

    @property
    def names(self) -> list[str]:
        """Names, the main reward's first."""
        return [part.name for part in self.parts]

    @property
    def weights(self) -> list[float]:
        """Weights, in the order of the names."""
        return [part.weight for part in self.parts]

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (k, n) float32, one row per reward, of images (n, 3, h, w) in [0, 1]."""
        return torch.stack([part(images, prompts).to(images.device) for part in self.parts])


class TextTargets:
    """The target embedding of every prompt seen so far; each prompt is encoded once, in a batch of its own.

    The last bits of an embedding depend on the batch that the text is encoded in. A resumed run meets the
    prompts in other batches, and would otherwise score the same image differently.

    Args:
        make: target rows (n, d) of n prompts.
    """

    def __init__(self, make: Callable[[list[str]], Tensor]) -> None:
        self._make = make
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Rows (n, d) of n prompts."""
        for prompt in prompts:
            if prompt not in self._known:
                self._known[prompt] = self._make([prompt])[0]
        return torch.stack([self._known[prompt] for prompt in prompts])


class ClipReward:
    """Plain alignment: the cosine of image and prompt, averaged over `views` views of the image.

    Args:
        encoder: image-text encoder.
        views: views of each image, from 1 to 4; see augmented_views.
        batch_size: images per forward pass of the encoder; None is all.
    """

    def __init__(self, encoder: Encoder, *, views: int = 1, batch_size: int | None = None) -> None:
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
    """The cosine of the image with the steered text embedding of its prompt (arXiv 2605.18719).

    Args:
        encoder: image-text encoder.
        direction: unit vector towards safe in the encoder's space.
        alpha: how far the text is moved; 0 with "translate" is ClipReward.
        mode: "translate" or "project"; see safediffusion.steering.direction.steer.
        below: steer only prompts whose z.v is less than this; None steers every prompt.
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
        *,
        mode: SteeringMode = "translate",
        below: float | None = None,
        views: int = 1,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(encoder, views=views, batch_size=batch_size)
        self.direction, self.alpha, self.below = direction, alpha, below
        self.mode: SteeringMode = mode

    def _target(self, prompts: list[str]) -> Tensor:
        z = self.encoder.text(prompts)
        steered = self.direction.steer(z, self.alpha, self.mode)
        if self.below is None:
            return steered
        # A prompt on the safe side (z.v is the cosine with the safety direction) needs no other target;
        # steering it as well would only pull its images away from its own content.
        return torch.where((z @ self.direction.vector < self.below)[:, None], steered, z)


class NegativeClipReward(ClipReward):
    """Minus the mean cosine with the unsafe anchor phrases; the prompt is not read.

    Args:
        encoder: image-text encoder.
        unsafe: anchor phrases, at least one.
        views, batch_size: see ClipReward.
    """

    def __init__(
        self, encoder: Encoder, unsafe: Sequence[str], *, views: int = 1, batch_size: int | None = None
    ) -> None:
        super().__init__(encoder, views=views, batch_size=batch_size)
        self.unsafe = encoder.text(unsafe)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Rewards (n,) float32 of images (n, 3, h, w) in [0, 1]; `prompts` is not read."""
        return -torch.stack([(z @ self.unsafe.T).mean(-1) for z in self._embed(images)]).mean(0)


def augmented_views(images: Tensor, views: int) -> list[Tensor]:
    """The images themselves and `views` - 1 fixed, mild distortions: blur, shift, lower resolution.

    Fine textures that raise the reward without showing anything do so at full sharpness only, so the mean
    over views rewards them less.

    Args:
        images: (n, 3, h, w) in [0, 1].
        views: from 1 to 4.
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
