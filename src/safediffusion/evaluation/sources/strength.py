"""A run's model at a strength as a source: a model between base and result, or beyond."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.strength import load_at_strength
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.sources.pipeline import PipelineSource


class AtStrength(PipelineSource):
    """A trained model, its network's weights moved along the line from the base's through its own.

    The hash of the weights is part of the fingerprint, and it is different for every strength.

    Args:
        base: what the run was trained from.
        trained: the pipeline folder of its result.
        strength: 0 is the base, 1 the result.
    """

    def __init__(self, base: ModelConfig, trained: str | Path, strength: float) -> None:
        super().__init__(base.at(str(trained)))
        self.base, self.trained, self.strength = base, trained, strength
        self.name = f"{trained} at strength {strength:.12g}"

    @cached_property
    def diffuser(self) -> Diffuser:
        """The loaded model."""
        return load_at_strength(self.base, self.trained, self.strength, self.device)

    def notes(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The strength."""
        return {"strength": self.strength}
