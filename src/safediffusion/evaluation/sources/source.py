"""What a source of images is: rows (prompt, seed, index) in, one image per row out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.sampler import Sampler
from safediffusion.system.device import pick_device

if TYPE_CHECKING:
    import torch

Image = Tensor | str  # an image (3, h, w) in [0, 1], or why there is none


class Source(ABC):
    """What an evaluation judges: a model with its sampler, a folder of images, or a user's own class.

    Attributes:
        name: what results show as their model.
        existing: whether the images exist already. Then no seed and no sampler belongs to them, and a task is
            evaluated even where all of its detectors are missing.
    """

    name: str
    existing: ClassVar[bool] = False

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the images depend on beside the rows and the sampler, as JSON values.

        It is part of the fingerprint: stored records are used again only if it is unchanged.
        """

    @abstractmethod
    def images(self, rows: Sequence[Row], sampler: Sampler) -> Sequence[Image]:
        """One image (3, h, w) in [0, 1] per row, or the reason why there is none.

        Args:
            rows: each with "prompt", "seed" and "index", and what else the prompt set gives.
            sampler: as `fit` returned it.
        """

    @property
    def device(self) -> str | torch.device:
        """Where the detectors run."""
        return pick_device()

    def sha256(self) -> str:
        """Hash of the class and of `describe`."""
        kind = type(self)
        text = json.dumps([f"{kind.__module__}:{kind.__qualname__}", self.describe()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def fit(self, sampler: Sampler, rows: Sequence[Row]) -> tuple[Sampler, list[Row]]:
        """A task's sampler and rows as this source can take them; unchanged unless a source overrides it."""
        return sampler, list(rows)

    def check_sampler(self, sampler: Sampler) -> None:  # noqa: B027 (most sources take any)
        """Refuse a sampler that this source cannot sample with, before the first image.

        Raises:
            UserError: what to set instead.
        """

    def describe_sampler(self, sampler: Sampler) -> dict[str, Any] | None:
        """The sampler as results and the fingerprint hold it."""
        return asdict(sampler)

    def notes(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What results.json holds about this source beside its name and hash."""
        return {"source": self.describe()}
