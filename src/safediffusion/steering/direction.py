"""The safety direction, and the two ways to move text embeddings along it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.config.setting_types import SteeringMode
from safediffusion.errors import UserError
from safediffusion.files.atomic import write_tensors
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.encoders import Encoder


def safety_direction(safe: Tensor, unsafe: Tensor) -> Tensor:
    """The safety direction of SafeDiffusion-R1 (arXiv 2605.18719): v = n(mean safe - mean unsafe).

    n divides by the length, so alpha is in units of an embedding's length.

    Args:
        safe: embeddings of the safe anchor phrases, unit rows (m, d). Without any, the mean is 0.
        unsafe: embeddings of the unsafe anchor phrases, unit rows (k, d), k at least 1.

    Returns:
        v (d,), unit.

    Raises:
        UserError: both means are the same.
    """
    towards = safe.mean(0) if len(safe) else torch.zeros_like(unsafe[0])
    difference = towards - unsafe.mean(0)
    if difference.norm() < 1e-6:
        raise UserError(
            "the safe and unsafe anchor phrases have the same mean embedding, so they span no direction; "
            "change the phrases"
        )
    return F.normalize(difference, dim=0)


def steer(z: Tensor, v: Tensor, alpha: float, mode: SteeringMode = "translate") -> Tensor:
    """Steered text embeddings n(z + alpha v), unit rows (n, d).

    Args:
        z: text embeddings, unit rows (n, d).
        v: safety direction, (d,) unit.
        alpha: how far, at least 0.
        mode: "translate" adds alpha v and returns z itself at alpha 0. "project" first removes z's component
            along v.

    Raises:
        UserError: alpha is negative.
    """
    if alpha < 0:
        raise UserError(
            f"reward.alpha is {alpha}, but steering only points towards safe; set it to 0 or more"
        )
    if mode == "project":
        z = z - (z @ v)[:, None] * v
    elif alpha == 0:
        return z
    return F.normalize(z + alpha * v, dim=-1)


@dataclass(frozen=True)
class SafetyDirection:
    """A unit vector towards safe in an encoder's space, and the safety policy that it was computed from.

    Attributes:
        vector: (d,) float32, unit.
        policy: the safety policy whose anchor phrases span it.
        encoder: name of the encoder.

    Examples:
        >>> from safediffusion import SafetyDirection
        >>> from safediffusion.steering.anchors import load_safety_policy
        >>> from safediffusion.steering.encoders import load_encoder
        >>> direction = SafetyDirection.from_anchors(load_encoder("world"), load_safety_policy("scaled"))
        >>> round(direction.vector.norm().item(), 3)
        1.0
    """

    vector: Tensor
    policy: SafetyPolicy
    encoder: str

    @classmethod
    def from_anchors(cls, encoder: Encoder, policy: SafetyPolicy) -> SafetyDirection:
        """The direction that a safety policy's phrases span in an encoder's space.

        Raises:
            UserError: the phrases span no direction.
        """
        unsafe = encoder.text(policy.unsafe)
        safe = encoder.text(policy.safe) if policy.safe else unsafe[:0]
        return cls(safety_direction(safe, unsafe), policy, encoder.name)

    @property
    def anchors(self) -> dict[str, tuple[str, ...]]:
        """The anchor phrases by side, "safe" and "unsafe"."""
        return {"safe": self.policy.safe, "unsafe": self.policy.unsafe}

    def steer(self, z: Tensor, alpha: float, mode: SteeringMode = "translate") -> Tensor:
        """Unit rows z (n, d) moved towards safe; see the function steer."""
        return steer(z, self.vector, alpha, mode)

    def save(self, path: Path) -> None:
        """Write a safetensors file; its metadata hold the safety policy, as JSON, and the encoder's name."""
        about = {"policy": json.dumps(asdict(self.policy)), "encoder": self.encoder}
        write_tensors(path, {"vector": self.vector.cpu().contiguous()}, about)
