"""What a baseline says of itself, and its two kinds: one writes weights, the other acts while sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from safediffusion.baselines.concepts import Concepts
from safediffusion.config.inputs import Section
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.numbers import finite_number
from safediffusion.world.networks.tokenizer import CONTEXT

FAMILIES = "safediffusion.diffusion.families."


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A baseline; the docstring of its class gives the formulas.

    Attributes:
        name: as the command line and tables write it.
        summary: one line.
        paper: title or authors, and arXiv number.
        families: names of the model families the method is defined for.
        concepts: name of the concept list it uses unless told otherwise.
        world_concepts: the same for World, which knows few words.
    """

    name: str
    summary: str
    paper: str
    families: tuple[str, ...]
    concepts: str = "nudity"
    world_concepts: str = "phrases"

    def own_concepts(self, diffuser: Diffuser) -> str:
        """Name of the list of concepts that the method uses for this model."""
        return self.world_concepts if reads_world(diffuser) else self.concepts

    def defined_for(self, diffuser: Diffuser) -> bool:
        """Whether the model's family, or the one that a family of the user's own derives from, is known."""
        ours = (kind for kind in type(diffuser).__mro__ if kind.__module__.startswith(FAMILIES))
        return next(ours, type(diffuser)).__name__ in self.families


def reads_world(diffuser: Diffuser) -> bool:
    """Whether a model reads World's captions: no other text encoder is as short as World's."""
    return diffuser.pipeline.tokenizer.model_max_length == CONTEXT


@dataclass(frozen=True, kw_only=True)
class WeightMethod(Method):
    """A baseline whose result is an ordinary pipeline folder.

    Attributes:
        options: its settings; `key=value` on the command line changes them.
    """

    options: Section

    @abstractmethod
    def apply(self, diffuser: Diffuser, concepts: Concepts) -> Mapping[str, Any]:
        """Changes the network's weights in place; returns what the folder's card says of how."""


class SamplingMethod(Method):
    """A baseline that acts while a picture is sampled and leaves the weights as they are.

    Attributes:
        needs_guidance: whether it acts through classifier-free guidance alone.
    """

    needs_guidance: ClassVar[bool] = False

    @property
    def settings(self) -> dict[str, float]:
        """The numbers that `MODEL+METHOD@key=value` may set, with their values."""
        common = {field.name for field in fields(Method)}
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in common}
        return {name: value for name, value in own.items() if isinstance(value, float)}

    def with_settings(self, given: Mapping[str, str]) -> Self:
        """The method with other numbers.

        Args:
            given: names of `settings` with the numbers as they were written.

        Raises:
            UserError: there is no such setting, or no such number.
        """
        for key in given:
            if not self.settings:
                raise UserError(f"{self.name} has no setting of its own; leave out @{key}")
            if key not in self.settings:
                raise UserError(f"{self.name} has no setting {key!r}; {did_you_mean(key, self.settings)}")
        return replace(self, **{key: _number(self.name, key, value) for key, value in given.items()})

    @abstractmethod
    @contextmanager
    def acting(self, diffuser: Diffuser, concepts: Sequence[str]) -> Iterator[None]:
        """While open, whoever samples from the model, or from its diffusers pipeline, gets the method."""
        yield


def _number(method: str, key: str, value: str) -> float:
    found = finite_number(value)
    if found is None:
        raise UserError(f"the setting {key} of {method} is {value!r}; set a number, as in @{key}=1")
    return found
