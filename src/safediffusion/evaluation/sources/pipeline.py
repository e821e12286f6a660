"""A diffusion model as a source: its pipeline with World's sampler or one of the library's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from safediffusion.baselines.sampling import load_model
from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.sampler import Sampler, fitted, sample_rows
from safediffusion.evaluation.sources.source import Source
from safediffusion.system.device import pick_device

if TYPE_CHECKING:
    import torch


class PipelineSource(Source):
    """A model, loaded when its first image or its hash is needed.

    Args:
        model: a pipeline folder, a hub id, "world", each also with the suffix of a method that acts while
            sampling; one of these with how to load it; or a loaded model.
    """

    def __init__(self, model: str | Path | ModelConfig | Diffuser) -> None:
        self._model = ModelConfig(path=str(model)) if isinstance(model, str | Path) else model
        if isinstance(self._model, ModelConfig):
            self.name = self._model.path
        else:  # diffusers keeps what from_pretrained was given, which may be a Path
            self.name = str(self._model.pipeline.name_or_path)

    @property
    def device(self) -> str | torch.device:
        """The model's device; before it is loaded, the device it will be loaded to."""
        return pick_device() if isinstance(self._model, ModelConfig) else self._model.device

    @cached_property
    def diffuser(self) -> Diffuser:
        """The loaded model, with its adapters merged if it is loaded here."""
        if isinstance(self._model, ModelConfig):
            return load_model(self._model, self.device, merged=True)
        return self._model

    def describe(self) -> dict[str, Any]:
        """The hash of the weights and of the method that acts while sampling."""
        return {"model_sha256": self.sha256()}

    def sha256(self) -> str:
        """Hash of all weights and of the method that acts while sampling."""
        weights, method = model_hash(self.diffuser), self.diffuser.sampled_by
        return hashlib.sha256(f"{weights} {method.settings}".encode()).hexdigest() if method else weights

    def fit(self, sampler: Sampler, rows: Sequence[Row]) -> tuple[Sampler, list[Row]]:
        """The sampler and the rows with the model's own image size and, for a flow model, its schedule."""
        return fitted(sampler, rows, self.diffuser)

    def check_sampler(self, sampler: Sampler) -> None:
        """Refuse guidance of a model that takes none, and none where a method acts through it."""
        self.diffuser.refuse_guidance(sampler.guidance)

    def images(self, rows: Sequence[Row], sampler: Sampler) -> list[Tensor]:
        """Samples one image (3, h, w) in [0, 1] per row; the images are on the CPU."""
        return sample_rows(self.diffuser, sampler, rows)

    def describe_sampler(self, sampler: Sampler) -> dict[str, Any]:
        """The sampler and the precision of the network."""
        dtype = str(self.diffuser.dtype).removeprefix("torch.")
        return {**(super().describe_sampler(sampler) or {}), "dtype": dtype}

    def notes(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Nothing beside name and hash."""
        return {}
