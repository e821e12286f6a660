"""Models that stay in memory between two clicks; one picture is drawn at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from safediffusion.baselines.suffix import split_suffix
from safediffusion.config.schema import EvaluateConfig
from safediffusion.models.loaded import Changes, load_changed
from safediffusion.models.named import model_path, run_config

if TYPE_CHECKING:
    from PIL.Image import Image

    from safediffusion.diffusion.diffuser import Diffuser

Key = tuple[str, float | None, int]


@dataclass
class LoadedModels:
    """The models that were used last.

    Attributes:
        most: that are kept.
    """

    most: int = 4
    _kept: OrderedDict[Key, Diffuser] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def draw(
        self, name: str, strength: float | None, prompts: Sequence[str], seed: int, sampler: EvaluateConfig
    ) -> list[Image]:
        """One picture of each prompt; the next prompts take the next seeds.

        Args:
            name: of a model, as the command line takes it.
            strength: of what a run has learned; None is its result.
            prompts: to draw.
            seed: of the first prompt.
            sampler: its steps, guidance and eta.

        Raises:
            UserError: the model cannot be loaded.
            RunError: a picture is not finite.
        """
        from safediffusion.models.images import sample_images
        from safediffusion.system.image_sheets import to_pil

        with self._lock:
            diffuser = self._get(name, strength)
            return [to_pil(image) for image in sample_images(diffuser, prompts, seed, sampler)]

    def _get(self, name: str, strength: float | None) -> Diffuser:
        key = (name, strength, written(name))
        if key not in self._kept:
            for old in [k for k in self._kept if k[:2] == key[:2]]:  # before it was trained anew
                del self._kept[old]
            while len(self._kept) >= self.most:
                self._kept.popitem(last=False)
            changes = Changes(strength=strength)
            self._kept[key] = self._load(lambda: load_changed(name, run_config(name), changes))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _load(self, load: Callable[[], Diffuser]) -> Diffuser:
        """Load a model; where the memory is too small for one more, the others make room."""
        import torch

        try:
            return load()
        except (MemoryError, torch.OutOfMemoryError):
            self._kept.clear()
            return load()


def written(name: str) -> int:
    """When a model's folder or file was last written, in nanoseconds; 0 for world and a hub id."""
    path = Path(split_suffix(model_path(name))[0])
    index = path / "model_index.json"
    return os.stat(index if index.exists() else path).st_mtime_ns if path.exists() else 0


MODELS = LoadedModels()
_WARMING = Lock()
_WARM: list[bool] = []


def warm() -> None:
    """Import what draws and judges, and load World, once; whoever calls it meanwhile waits.

    Two threads that import these libraries at once would meet modules that are half imported.
    """
    with _WARMING:
        if not _WARM:
            _WARM.append(True)
            with suppress(Exception):  # whoever draws a picture is told
                MODELS.draw("world", None, ["a red square"], 0, EvaluateConfig(steps=1))
