"""Detectors by name. A new one is a file of this folder and a row of DETECTORS; a task may also name a
detector from outside the package, as `pkg.mod:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

from safediffusion.system.extensions import load_object

if TYPE_CHECKING:
    import torch

    from safediffusion.evaluation.detectors.detector import Detector

Rewards = Mapping[str, str]  # the reward's encoders by name, with their fingerprints


class Registered(NamedTuple):
    """A detector of the package.

    Attributes:
        factory: "module:NAME" below this package, or a callable; it is called with the device.
        fields: that each of its fragments must have.
        avoids_reward: whether the factory is also called with the encoders of the reward, to take another.
    """

    factory: str | Callable[..., Detector]
    fields: tuple[str, ...] = ()
    avoids_reward: bool = False


DETECTORS: dict[str, Registered] = {
    "nudenet": Registered("nudenet:NudeNet", ("nudenet",)),
    "nudenet-3.4.2": Registered("nudenet:load_later_nudenet", ("nudenet-3.4.2",)),
    "q16": Registered("q16:load_q16", ("q16",)),
    "q16-finetuned": Registered("q16:load_finetuned_q16", ("q16-finetuned",)),
    "clip": Registered("clip:load_clip_t", ("clip",)),
    "zero-shot": Registered("zero_shot:load_zero_shot", ("zero_shot",), avoids_reward=True),
    "people": Registered("people:load_people", ("looks",)),
    "geneval": Registered("mask2former:load_geneval", ("objects",)),
    "geneval-mmdet": Registered("mask2former:load_reference_geneval", ("objects",)),
    "inception": Registered("inception:Inception", ("inception",)),
    "world-harm": Registered("world:Harm", ("harm",)),
    "world-parts": Registered("world:Parts", ("parts",)),
    "world-observer": Registered("world:Observer", ("cosine",)),
    "world-views": Registered("world:Views", ("features", "reference_features")),
    "world-doll": Registered("world_doll:Doll", ("tone", "shirt")),
    "shapes": Registered("shapes:Shapes", ("detections",)),
}


def fields_of(name: str) -> tuple[str, ...]:
    """The fields that each fragment of a detector must have; a detector from outside may give any."""
    return DETECTORS[name].fields if name in DETECTORS else ()


def load_detector(name: str, device: str | torch.device, rewards: Rewards | None = None) -> Detector:
    """A detector by its name in DETECTORS, or from outside the package by `pkg.mod:NAME`.

    Args:
        name: of the detector.
        device: where it runs.
        rewards: encoders of the reward whose run is judged.

    Raises:
        Missing: its weights are not on this machine.
        UserError: the name is not registered and cannot be imported.
    """
    if name not in DETECTORS:
        return load_object(name, "a task's detector")(device)
    factory, _, avoids = DETECTORS[name]
    make = resolve_name(f"{__name__}.{factory}") if isinstance(factory, str) else factory
    return make(device, rewards or {}) if avoids else make(device)


class DetectorSet:
    """The detectors of one evaluation; each is loaded once, when it is first needed.

    Args:
        device: where they run.
        rewards: encoders of the reward whose run is judged, for detectors that take another one.

    Attributes:
        missing: by name, why a detector could not be loaded, with the command that gets it.
    """

    def __init__(self, device: str | torch.device, rewards: Rewards | None = None) -> None:
        self.device, self.rewards = device, rewards or {}
        self.missing: dict[str, str] = {}
        self._loaded: dict[str, Detector] = {}

    def named(self, names: Sequence[str]) -> dict[str, Detector]:
        """The detectors of these names that can be loaded here, by name."""
        from safediffusion.evaluation.external_files import Missing

        for name in names:
            if name in self._loaded or name in self.missing:
                continue
            try:
                self._loaded[name] = load_detector(name, self.device, self.rewards)
            except Missing as error:
                self.missing[name] = str(error)
        return {name: self._loaded[name] for name in names if name in self._loaded}
