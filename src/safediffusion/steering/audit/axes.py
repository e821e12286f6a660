"""What an audit compares: groups along axes, in captions that name one of them or none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.steering.encoders import Encoder
from safediffusion.text.strict_yaml import read_mapping
from safediffusion.world import wordings as W
from safediffusion.world.captions import article
from safediffusion.world.drawing import COLORS, PROPS

Array = NDArray[np.float64]
Reference = Literal["nonce", "mean"]

PEOPLE = Path(__file__).parent / "people.yaml"
# Words without meaning, the control of HolisticBias (Smith et al., 2022, arXiv 2205.09209).
NONCE = ("blicket", "stad", "mell", "coodle", "doff", "tannin", "fitch", "tulver")


@dataclass(frozen=True)
class Axis:
    """Groups that are compared with each other.

    Attributes:
        templates: pairs of a caption with {} where a term is put, and the same caption without it.
        groups: terms of each group.
        nonce: meaningless terms: how far a caption moves by any word.
        reference: what a group's shift is judged against: the nonce terms, or the mean of all groups.
    """

    name: str
    templates: tuple[tuple[str, str], ...]
    groups: Mapping[str, tuple[str, ...]]
    nonce: tuple[str, ...] = NONCE
    reference: Reference = "nonce"

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms of all groups, one group after the other."""
        return tuple(term for terms in self.groups.values() for term in terms)

    def captions(self, terms: Sequence[str]) -> list[str]:
        """Every template with every term, the terms of one template beside each other."""
        found = (marked.format(term) for marked, _ in self.templates for term in terms)
        return [re.sub(r"\ba (?=[aeiou])", "an ", text) for text in found]


@dataclass(frozen=True)
class AuditSet:
    """Everything that is audited with one kind of encoder.

    Attributes:
        suspicious: harmless captions that look harmful, by kind; "control" are plain scenes.
    """

    axes: tuple[Axis, ...]
    suspicious: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """An axis as embeddings, unit rows of d numbers in double precision.

    Attributes:
        marked: (templates, terms, d).
        unmarked: (templates, d).
        nonce: (templates, nonce terms, d).
    """

    axis: Axis
    marked: Array
    unmarked: Array
    nonce: Array

    @classmethod
    def of(cls, axis: Axis, encoder: Encoder) -> Grid:
        """Embed the captions of an axis.

        Raises:
            UserError: a caption sexualises minors.
        """
        templates = len(axis.templates)
        parts = [axis.captions(axis.terms), [plain for _, plain in axis.templates], axis.captions(axis.nonce)]
        marked, unmarked, nonce = (embed(encoder, part) for part in parts)
        return cls(
            axis,
            marked.reshape(templates, -1, encoder.dim),
            unmarked,
            nonce.reshape(templates, -1, encoder.dim),
        )

    def columns(self, group: str) -> slice:
        """Where a group's terms stand among the terms."""
        before = 0
        for name, terms in self.axis.groups.items():
            if name == group:
                return slice(before, before + len(terms))
            before += len(terms)
        raise KeyError(group)

    @property
    def owner(self) -> NDArray[np.int64]:
        """The number of each term's group, (terms,)."""
        sizes = [len(terms) for terms in self.axis.groups.values()]
        return np.repeat(np.arange(len(sizes)), sizes)


def embed(encoder: Encoder, captions: Sequence[str]) -> Array:
    """Unit rows (n, d); each text is embedded once.

    Raises:
        UserError: a caption sexualises minors.
    """
    unique = list(dict.fromkeys(captions))
    if any(map(sexualises_minors, unique)):
        raise UserError("a caption mentions minors in a sexual context; such captions are never used")
    if not unique:
        return np.zeros((0, encoder.dim))
    place = {text: i for i, text in enumerate(unique)}
    return encoder.text(unique).cpu().double().numpy()[[place[text] for text in captions]]


def audit_set(encoder: str) -> AuditSet:
    """The axes for an encoder: World's own words for World, groups of people for all others."""
    return world_set() if encoder == "world" else people()


@cache
def people() -> AuditSet:
    """Groups of people in captions of photos; the terms are everyday words."""
    read = read_mapping(PEOPLE, "templates, axes and captions")
    templates = tuple((text, text.replace("{} ", "")) for text in read["templates"])
    axes = tuple(
        Axis(name, templates, {group: tuple(terms) for group, terms in groups.items()})
        for name, groups in read["axes"].items()
    )
    return AuditSet(axes, {kind: tuple(texts) for kind, texts in read["suspicious"].items()})


def world_set() -> AuditSet:
    """Shirt colours, props and places in the words of World's captions.

    A shift is judged against the mean of the groups: World's encoder was trained on the words of World's
    captions only, so that a meaningless word takes it where it knows nothing.
    """
    everywhere = list(W.PLACES.values())
    shirts, alone, beside = (
        [*used, *held] for used, held in (W.BENIGN_SHIRT, W.BENIGN_PROP, W.BENIGN_PERSON_PROP)
    )
    persons = [text for wordings in W.BENIGN_PERSON for text in wordings]
    bare = [
        (text.format(color="{}", a_color="a {}", place=place), f"a person {place}")
        for text in shirts
        for place in everywhere
    ]
    things = [
        (text.format(prop="{}", place=place), f"{plain} {place}")
        for texts, plain in ((alone, "a photo"), (beside, "a person"))
        for text in texts
        for place in everywhere
    ]
    scenes = [
        *(text.format(place="{}") for text in persons),
        *(
            text.format(color=color, a_color=article(color), place="{}")
            for text in shirts
            for color in COLORS
        ),
        *(text.format(prop=prop, place="{}") for text in [*alone, *beside] for prop in PROPS),
    ]
    return AuditSet(
        (
            world_axis("shirt", bare, {color: color for color in COLORS}),
            world_axis("prop", things, {prop: prop for prop in PROPS}),
            world_axis("place", [(text, text.removesuffix(" {}")) for text in scenes], W.PLACES, "in the "),
        )
    )


def world_axis(
    name: str, templates: Sequence[tuple[str, str]], terms: Mapping[str, str], before: str = ""
) -> Axis:
    """An axis of one term a group; `before` goes before nonce words."""
    groups = {group: (term,) for group, term in terms.items()}
    return Axis(name, tuple(templates), groups, tuple(before + word for word in NONCE), "mean")
