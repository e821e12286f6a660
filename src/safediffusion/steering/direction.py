"""The safety direction and the two ways to move text along it. Pure mathematics, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from safediffusion.errors import UserError
from safediffusion.files.atomic import write_tensors
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.encoders import Encoder

Mode = Literal["translate", "project"]


def safety_direction(safe: Tensor, unsafe: Tensor) -> Tensor:
    """v = n(mean safe - mean unsafe), (d,) unit, from unit rows (m, d) and (k, d).

    SafeDiffusion-R1 (arXiv 2605.18719). The direction is normalised, so alpha counts in units of an
    embedding's length. Without safe rows v is the opposite of the unsafe mean.
    """
    towards = safe.mean(0) if len(safe) else torch.zeros_like(unsafe[0])
    difference = towards - unsafe.mean(0)
    if difference.norm() < 1e-6:
        raise UserError(
            "the safe and unsafe anchors have the same mean, so they span no direction; change them"
        )
    return F.normalize(difference, dim=0)


def steer(z: Tensor, v: Tensor, alpha: float, mode: Mode = "translate") -> Tensor:
    """Text embeddings moved towards safe, unit rows (n, d).

    Args:
        z: unit rows, (n, d).
        v: unit direction, (d,).
        alpha: how far, at least 0.
        mode: "translate" adds alpha v; "project" first takes z's own component along v away. At alpha 0
            translate returns z itself.
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
    """A unit vector towards safe in an encoder's space, and the policy it came from.

    Attributes:
        vector: (d,) float32, unit.
        policy: the anchors.
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
        """The direction that a policy's phrases span in an encoder's space."""
        unsafe = encoder.text(policy.unsafe)
        safe = encoder.text(policy.safe) if policy.safe else unsafe[:0]
        return cls(safety_direction(safe, unsafe), policy, encoder.name)

    @property
    def anchors(self) -> dict[str, tuple[str, ...]]:
        """The phrases by side."""
        return {"safe": self.policy.safe, "unsafe": self.policy.unsafe}

    def steer(self, z: Tensor, alpha: float, mode: Mode = "translate") -> Tensor:
        """Unit rows z (n, d) moved towards safe."""
        return steer(z, self.vector, alpha, mode)

    def save(self, path: Path) -> None:
        """One safetensors file; the policy and the encoder's name are its metadata, as JSON."""
        about = {"policy": json.dumps(asdict(self.policy)), "encoder": self.encoder}
        write_tensors(path, {"vector": self.vector.cpu().contiguous()}, about)

    @classmethod
    def load(cls, path: Path) -> SafetyDirection:
        """What save wrote."""
        with safe_open(path, "pt") as file:
            about = file.metadata()
            return cls(
                file.get_tensor("vector"), SafetyPolicy.build(json.loads(about["policy"])), about["encoder"]
            )
