"""Detects reward hacking: a reward that rises while the images deteriorate.

Image statistics move first (checkerboards, tints, flat colour), the recognisable rate follows.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
EDGE = 0.1  # luminance step between neighbours that counts as an edge
LEVELS = 8  # per channel in the colour histogram

START = 3  # rounds whose mean is the starting value
SMOOTHING = 0.7  # share of the past in a running mean
PATIENCE = 3  # rounds in a row before the alarm
REWARD_RISE = 0.25  # in deviations of the first rewards
RECOGNISABLE_FALL = 0.8  # of the starting rate, while the reward rises
RECOGNISABLE_LOST = 0.5  # of the starting rate, whatever the reward does
BAND = (0.6, 1.7)  # of a statistic's starting value
OUTSIDE = 2  # statistics that must have left it


@torch.no_grad()
def image_statistics(images: Tensor) -> dict[str, float]:
    """Edge density, colour entropy (bits), saturation and high-frequency share of images (n, 3, h, w)."""
    grey = torch.einsum("nchw,c->nhw", images, torch.tensor(LUMINANCE, device=images.device))
    across, down = grey.diff(dim=2)[:, 1:], grey.diff(dim=1)[:, :, 1:]
    return {
        "edge_density": (across.square() + down.square() > EDGE**2).float().mean().item(),
        "colour_entropy": _colour_entropy(images).mean().item(),
        "saturation": (images.amax(1) - images.amin(1)).mean().item(),
        "high_frequency": _high_frequency_share(grey).mean().item(),
    }


def _colour_entropy(images: Tensor) -> Tensor:
    n, bins = len(images), LEVELS**3
    level = (images * LEVELS).long().clamp(0, LEVELS - 1)
    colour = level[:, 0] * LEVELS**2 + level[:, 1] * LEVELS + level[:, 2]
    row = torch.arange(n, device=images.device).view(-1, 1, 1) * bins
    share = torch.bincount((colour + row).flatten(), minlength=n * bins).view(n, bins).float()
    share = share / share.sum(1, keepdim=True)
    return -torch.xlogy(share, share).sum(1) / torch.log(torch.tensor(2.0))


def _high_frequency_share(grey: Tensor) -> Tensor:
    """Share of spectral power above half the Nyquist frequency, without the mean, (n,)."""
    power = torch.fft.rfft2(grey - grey.mean((1, 2), keepdim=True)).abs().square()
    vertical = torch.fft.fftfreq(grey.shape[1], device=grey.device).abs()
    horizontal = torch.fft.rfftfreq(grey.shape[2], device=grey.device)
    high = torch.maximum(vertical[:, None], horizontal[None, :]) > 0.25
    return power[:, high].sum(1) / power.sum((1, 2)).clamp(min=1e-12)


@dataclass
class CollapseAlarm:
    """Running means of the reward and the image statistics; the fields are the whole state."""

    rounds: int = 0
    start: dict[str, float] = field(default_factory=dict)
    now: dict[str, float] = field(default_factory=dict)
    suspicious: int = 0
    collapsed_at: int | None = None

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, as JSON."""
        return asdict(self)

    @property
    def healthy(self) -> bool:
        """Whether the last round had no sign of a collapse."""
        return self.suspicious == 0

    def update(self, step: int, row: dict[str, Any]) -> str | None:
        """Add a metrics row; return the signs of a collapse while the alarm is on, else None.

        Args:
            step: number of the round, kept as `collapsed_at` when the alarm first fires.
            row: reward_mean, reward_std, image_stats and recognisable (None: not measured).
        """
        values: dict[str, float] = {
            "reward": row["reward_mean"],
            "spread": row["reward_std"],
            **row["image_stats"],
        }
        if row["recognisable"] is not None:
            values["recognisable"] = row["recognisable"]
        if unknown := [f"{name} is not finite" for name, v in values.items() if not math.isfinite(v)]:
            return self._alarm(step, unknown)  # the running means must stay finite
        self.rounds += 1
        if self.rounds <= START:
            share = 1 / self.rounds
            self.start = {k: self.start.get(k, v) * (1 - share) + v * share for k, v in values.items()}
            self.now = dict(self.start)
            return None
        self.now = {k: SMOOTHING * self.now[k] + (1 - SMOOTHING) * v for k, v in values.items()}
        return self._alarm(step, self._signs())

    def _alarm(self, step: int, signs: list[str]) -> str | None:
        """The signs, once there were some in PATIENCE consecutive rounds."""
        self.suspicious = self.suspicious + 1 if signs else 0
        if self.suspicious < PATIENCE:
            return None
        if self.collapsed_at is None:
            self.collapsed_at = step
        return ", ".join(signs)

    def _signs(self) -> list[str]:
        rising = self.now["reward"] - self.start["reward"] > REWARD_RISE * self.start["spread"]
        known = "recognisable" in self.start
        limit = RECOGNISABLE_FALL if rising else RECOGNISABLE_LOST
        if known and self.now["recognisable"] < limit * self.start["recognisable"]:
            return [self._change("reward"), self._change("recognisable")]
        outside = [name for name in self.start if name not in ("reward", "spread", "recognisable")]
        outside = [name for name in outside if not self._inside(name)]
        return (
            [self._change(name) for name in ("reward", *outside)]
            if rising and len(outside) >= OUTSIDE
            else []
        )

    def _inside(self, name: str) -> bool:
        low, high = BAND
        return low * self.start[name] <= self.now[name] <= high * self.start[name]

    def _change(self, name: str) -> str:
        return f"{name} {self.start[name]:.3g} -> {self.now[name]:.3g}"
