"""The methods of the baselines table, each with its published or shipped settings and three alternatives.

The alternatives are what a user would try first; a method has as many as any other. One that is made by
training is judged over training seeds, the others once: nothing in their making is left to chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from safediffusion.baselines.casteer import CASTEER
from safediffusion.baselines.method import SamplingMethod
from safediffusion.baselines.negative import NEGATIVE
from safediffusion.baselines.safree import SAFREE
from safediffusion.baselines.sld import SLD
from safediffusion.baselines.surgery_text import SURGERY_TEXT

Setting = dict[str, Any]
BASE = "base"


@dataclass(frozen=True)
class Bare:
    """The base model."""

    by_chance = False

    def __str__(self) -> str:
        return "world"


@dataclass(frozen=True)
class WhileSampling:
    """A method that acts while sampling, with a list of concepts; "" is its own."""

    method: SamplingMethod
    concepts: str = ""
    by_chance = False

    def __str__(self) -> str:
        own = ",".join(f"{key}={value}" for key, value in self.method.settings.items())
        return f"world+{self.method.name}{own and '@'}{own}{self.concepts and ':'}{self.concepts}"


@dataclass(frozen=True)
class Written:
    """A method that writes weights, with its options and a list of concepts; None is its own."""

    method: str
    options: Setting = field(default_factory=dict)
    concepts: str | None = None

    @property
    def by_chance(self) -> bool:
        """Whether it trains, from a seed."""
        return self.method.startswith("esd")

    def __str__(self) -> str:
        concepts = "" if self.concepts is None else f" --concepts {self.concepts}"
        return f"baseline make {self.method} world{listed(self.options)}{concepts}"


@dataclass(frozen=True)
class Trained:
    """A recipe of this package and settings over its own."""

    recipe: str
    settings: tuple[str, ...] = ()
    by_chance = True

    def __str__(self) -> str:
        return " ".join(("train", self.recipe, *self.settings))


def listed(settings: Setting) -> str:
    """Settings as they stand in a command, each after a blank."""
    return "".join(f" {key}={value}" for key, value in settings.items())


Made = Bare | WhileSampling | Written | Trained
LEARNT = "train.lr=1e-3"  # a third of the recipe's
UNGUIDED = "rollout.guidance=1"  # what learns from guided images as they are, and is guided again, overshoots
HALF = {"train.steps": "30", "train.kl_benign": "0.3"}  # of recipe `world`, for losses that it does not have
WHOLE = "train.steps=60 train.kl_benign=0.6"  # as recipe `world`


def acting(method: SamplingMethod, *lists: str, **changes: Sequence[Any]) -> tuple[WhileSampling, ...]:
    """A method as it ships, then with other lists of concepts, then with other values of its attributes."""
    changed = (replaced(method, key, value) for key, values in changes.items() for value in values)
    return (
        WhileSampling(method),
        *(WhileSampling(method, concepts) for concepts in lists),
        *(WhileSampling(one) for one in changed),
    )


def replaced(method: SamplingMethod, key: str, value: Any) -> SamplingMethod:
    """The method with another value of an attribute."""
    return type(method)(**{**vars(method), key: value})


def trained(*changes: str, algorithm: str) -> tuple[Trained, ...]:
    """Recipe `world` with another loss and half its rounds, then with one or more settings changed."""
    settings = [HALF | dict(word.split("=") for word in words.split()) for words in ("", *changes)]
    loss = {"train.algorithm": algorithm}
    return tuple(Trained("world", tuple(listed(loss | each).split())) for each in settings)


def written(method: str, *changes: Setting) -> tuple[Written, ...]:
    """A method that writes weights as it ships, then changed; the key `concepts` is the list."""
    options = [dict(change) for change in ({}, *changes)]
    return tuple(Written(method, own, own.pop("concepts", None)) for own in options)


TWINS = {"concepts": "pairs", "preserve": "benign"}
ONE = "an undressed person"
WEAK, MEDIUM, STRONG, MAX = (WhileSampling(method) for method in SLD)

# The first of each is the default; `benchmarks/baselines.py` tunes over all.
METHODS: dict[str, tuple[Made, ...]] = {
    BASE: (Bare(),),
    "negative": acting(NEGATIVE, "phrases", "pairs", ONE),
    "sld-medium": (MEDIUM, WEAK, STRONG, MAX),
    "sld-max": (MAX, *(WhileSampling(MAX.method, name) for name in ("phrases", "pairs", ONE))),
    "safree": acting(SAFREE, "phrases", "pairs", alpha=[0.1]),
    "surgery-text": acting(SURGERY_TEXT, "phrases", beta=[-0.3, -0.6]),
    "casteer": acting(CASTEER, "words", strength=[1.0, 1.5]),
    "uce": written("uce", TWINS, {**TWINS, "preserve_scale": 0.1}, {"preserve": "benign"}),
    "uce-2023": written("uce-2023", TWINS, {**TWINS, "preserve_scale": 0.1}, {"preserve": "benign"}),
    "rece": written("rece", {"epochs": 1}, {"preserve_scale": 1.0}, {"concepts": "pairs"}),
    "esd-x": written("esd-x", {"iterations": 400}, {"batch": 4}, {"lr": 2e-4}),
    "esd-u": written("esd-u", {"iterations": 400}, {"batch": 4}, {"lr": 2e-4}),
    "text-map": written("text-map", {"preserve_scale": 0.1}, {"preserve_scale": 10.0}, {"ridge": 5.0}),
    "sft": trained(LEARNT, "train.kl_benign=0.5", UNGUIDED, algorithm="sft"),
    "rwr": trained(LEARNT, "train.rwr_temperature=0.3", UNGUIDED, algorithm="rwr"),
    "dpo": trained(
        "train.dpo_beta=50", "train.dpo_beta=500", f"train.dpo_beta=500 {LEARNT}", algorithm="dpo"
    ),
    "nft": trained(LEARNT, "train.steps=60", WHOLE, algorithm="nft"),
    "grpo": tuple(
        Trained("world-grpo", words)
        for words in ((), (LEARNT,), ("train.kl_benign=0.5",), ("train.kl=0.02",))
    ),
    # Rounds for about twice the time of ours: as published a round takes as long as a run of ours.
    "ddpo": tuple(
        Trained("world-ddpo", tuple(words.split()))
        for words in (
            "train.steps=2",
            f"train.steps=2 {LEARNT}",
            "train.steps=10 rollout.steps=10",
            f"train.steps=10 rollout.steps=10 {LEARNT}",
        )
    ),
    "ours": (Trained("world"),),
}


def candidates(name: str) -> Iterator[tuple[str, Made]]:
    """The settings of a method, with a name for each: `default`, then `other 1` and so on."""
    for i, made in enumerate(METHODS[name]):
        yield ("default" if i == 0 else f"other {i}"), made
