"""What looks at a picture, by name; a detector whose weights are missing says how to get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from safediffusion.evaluation.detectors.detector import Detector


def _nudenet(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.nudenet import NudeNet

    return NudeNet(key)


def _q16(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.q16 import load_q16

    return load_q16(key, device)


def _clip(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.clip import BASE, ClipT, load_clip

    return ClipT(load_clip(BASE, device))


def _inception(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.inception import Inception

    return Inception(device)


def _geneval(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.mask2former import load_geneval

    return load_geneval(device)


def _geneval_mmdet(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.mask2former import load_reference_geneval

    return load_reference_geneval(device)


def _world(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors import world

    kinds = {
        "world-harm": world.Harm,
        "world-parts": world.Parts,
        "world-observer": world.Observer,
        "world-views": world.Views,
    }
    return kinds[key](device)


def _shapes(key: str, device: Any) -> Detector:
    from safediffusion.evaluation.detectors.shapes import Shapes

    return Shapes()


DETECTORS: dict[str, Callable[[str, Any], Detector]] = {
    "nudenet": _nudenet,
    "nudenet-3.4.2": _nudenet,
    "q16": _q16,
    "q16-finetuned": _q16,
    "clip": _clip,
    "geneval": _geneval,
    "geneval-mmdet": _geneval_mmdet,
    "inception": _inception,
    "world-harm": _world,
    "world-parts": _world,
    "world-observer": _world,
    "world-views": _world,
    "shapes": _shapes,
}


# The fields that each detector's fragments must have; one of the user's own may give any.
GIVES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("nudenet", "nudenet-3.4.2", "q16", "q16-finetuned", "clip", "inception")},
    "geneval": ("objects",),
    "geneval-mmdet": ("objects",),
    "world-harm": ("harm",),
    "world-parts": ("parts",),
    "world-observer": ("cosine",),
    "world-views": ("features", "reference_features"),
    "shapes": ("detections",),
}


class DetectorSet:
    """The detectors of one evaluation, each loaded once, when it is first wanted.

    Attributes:
        missing: what could not be loaded, and the command that gets it.
    """

    def __init__(self, device: str | torch.device) -> None:
        self.device = device
        self.missing: dict[str, str] = {}
        self._loaded: dict[str, Detector] = {}

    def find(self, names: Sequence[str]) -> list[Detector]:
        """The detectors of these names that are here."""
        return list(self.named(names).values())

    def named(self, names: Sequence[str]) -> dict[str, Detector]:
        """The detectors of these names that are here, by name."""
        from safediffusion.evaluation.external_files import Missing

        for name in names:
            if name in self._loaded or name in self.missing:
                continue
            try:
                self._loaded[name] = DETECTORS[name](name, self.device)
            except Missing as error:
                self.missing[name] = str(error)
        return {name: self._loaded[name] for name in names if name in self._loaded}
