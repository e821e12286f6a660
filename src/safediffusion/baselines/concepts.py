"""Lists of concepts that a baseline moves away from, and of captions that it keeps: named, or the user's.

A published list is a setting, not a constant of a method. Every phrase the user gives is held to the minors
rule; as it names a harm, a mention of minors alone is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.files.paths import name_list
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.sources import column_called
from safediffusion.prompts.table import expanded, is_table, read_table, text_of
from safediffusion.text import strict_yaml
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.words import distinct, text
from safediffusion.world.captions import rl_prompts
from safediffusion.world.wordings import EXPLICIT, PLACES

MOST = 1000  # phrases
CUTOFF = 0.75  # how near a single word is to the name of a list to be its misspelling


@dataclass(frozen=True)
class Concepts:
    """Phrases, each with its harmless counterpart where the list has them.

    Attributes:
        name: of the list, or what the user gave.
        phrases: what a method moves away from, or keeps.
        twins: one for each phrase, or none.
        world: whether they are written in World's few words.
    """

    name: str
    phrases: tuple[str, ...]
    twins: tuple[str, ...] = ()
    world: bool = False


# ESD, UCE and RECE
I2P11 = (
    "hate", "harassment", "violence", "suffering", "humiliation", "harm", "suicide", "sexual", "nudity",
    "bodily fluids", "blood",
)  # fmt: skip
# SLD
SLD20 = (
    *I2P11, "obscene gestures", "illegal activity", "drug use", "theft", "vandalism", "weapons",
    "child abuse", "brutality", "cruelty",
)  # fmt: skip
WORDS = ("nudity", "violence", "shocking", "hate", "harassment", "self harm", "illegal")
EVERYDAY = (
    "a photo of a person", "a photo of a man", "a photo of a woman", "a portrait of a person",
    "a person wearing a red shirt", "a person walking in the street", "two people talking", "a dog", "a cat",
    "a horse in a field", "a bird on a branch", "a bowl of fruit", "a cup of coffee on a table", "a red car",
    "a bicycle", "a train at a station", "a house with a garden", "a city at night", "a beach at sunset",
    "a mountain lake", "a bouquet of flowers", "a painting of a landscape", "a kitchen", "an empty room",
)  # fmt: skip


def world_phrases() -> Concepts:
    """One explicit caption of each category, without its place: what World's UNet was trained on."""
    phrases = (used[0].format(place="").strip() for used, _ in EXPLICIT.values())
    return Concepts("phrases", tuple(phrases), world=True)


def world_pairs() -> Concepts:
    """The explicit captions that RL prompts may use, each with a person in the same place as its twin."""
    captions = [caption for used, _ in EXPLICIT.values() for caption in used]
    both = [
        (caption.format(place=place), f"a person {place}")
        for caption, place in zip(captions, cycle(PLACES.values()), strict=False)
    ]
    phrases, twins = zip(*both, strict=True)
    return Concepts("pairs", phrases, twins, world=True)


def world_benign() -> Concepts:
    """World's benign RL prompts, to be kept."""
    benign = (row["prompt"] for row in rl_prompts() if row["label"] == "benign")
    return Concepts("benign", tuple(benign), world=True)


LISTS: dict[str, Callable[[], Concepts]] = {
    "nudity": lambda: Concepts("nudity", ("nudity",)),
    "i2p11": lambda: Concepts("i2p11", I2P11),
    "sld20": lambda: Concepts("sld20", SLD20),
    "everyday": lambda: Concepts("everyday", EVERYDAY),
    "words": lambda: Concepts("words", WORDS, world=True),
    "phrases": world_phrases,
    "pairs": world_pairs,
    "benign": world_benign,
}


def read_concepts(given: str) -> Concepts:
    """A list by name, in a file, or written out with commas.

    Args:
        given: a name of LISTS; a table with a column `concept` (or `prompt`), and perhaps `twin`; a YAML file
            with `concepts:` and perhaps `twins:`; or phrases with commas between them.

    Raises:
        UserError: it names no list and no file, or a phrase is not accepted.
    """
    if given in LISTS:
        return LISTS[given]()
    if Path(given).suffix.lower() in (".yaml", ".yml"):
        found = _of_yaml(given)
    elif is_table(given):
        found = _of_table(given)
    else:
        found = _written_out(given)
    _check(found)
    return found


def mentions_minors(phrase: str) -> bool:
    """Whether a phrase that names a harm mentions minors: then no picture of it is ever drawn."""
    return sexualises_minors(phrase, ("sexual",))


def _of_yaml(given: str) -> Concepts:
    values = strict_yaml.read_mapping(expanded(given), "a `concepts:` list of phrases")
    for key in values:
        if key not in ("concepts", "twins"):
            raise UserError(f"{given} has {key!r}; {did_you_mean(key, ('concepts', 'twins'))}")
    lists = [values.get(key) or [] for key in ("concepts", "twins")]
    if not all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in lists):
        raise UserError(f"{given} needs `concepts:` as a list of texts, and `twins:` likewise or not at all")
    return Concepts(Path(given).name, tuple(lists[0]), tuple(lists[1]))


def _of_table(given: str) -> Concepts:
    table = read_table(given)
    column = column_called("concept", table.columns) or column_called("prompt", table.columns)
    if table.rows and column is None:
        raise UserError(f"{given} has no column `concept`; it has {', '.join(table.columns)}")
    twin = column_called("twin", table.columns)
    places = [(row.cells, f"{given}, {row.where}") for row in table.rows]
    phrases = (text_of(cells, column or "", where) for cells, where in places)
    twins = (text_of(cells, twin, where) for cells, where in places) if twin else ()
    return Concepts(Path(given).name, tuple(phrases), tuple(twins))


def _written_out(given: str) -> Concepts:
    phrases = name_list(given) if given.strip() else ()
    if len(phrases) == 1 and (hint := did_you_mean(given, LISTS, CUTOFF)).startswith("did"):
        raise UserError(
            f"there is no list of concepts called {given!r}; {hint} A concept of that name needs a file"
        )
    return Concepts("given", phrases)


def _check(found: Concepts) -> None:
    """Hold a list from outside to what every method needs.

    Raises:
        UserError: it is empty, too long, repeats a phrase, mentions minors, or twins are missing.
    """
    if not found.phrases:
        raise UserError(
            f"the concepts {found.name} hold no phrase; give one or more, or one of {', '.join(LISTS)}"
        )
    if len(found.phrases) > MOST:
        raise UserError(f"the concepts {found.name} are {len(found.phrases)} phrases; give {MOST} at most")
    if found.twins and len(found.twins) != len(found.phrases):
        raise UserError(
            f"the concepts {found.name} have {len(found.phrases)} phrases and {len(found.twins)} twins; "
            "give each phrase its own twin, or none"
        )
    if any(map(mentions_minors, found.phrases)) or any(map(sexualises_minors, found.twins)):
        raise UserError(
            f"the concepts {found.name} mention minors; such phrases are never used, take them out"
        )
    _check_texts(found)


def _check_texts(found: Concepts) -> None:
    where = ""
    try:
        distinct(found.phrases)
        for kind, texts in (("concept", found.phrases), ("twin", found.twins)):
            for i, one in enumerate(texts, 1):
                where = f"{kind} {i} of "
                text(one)
    except ValueError as error:
        raise UserError(f"{where}the concepts {found.name} cannot be used: {error}") from error


def keep_adult(phrases: Sequence[str]) -> tuple[str, ...]:
    """The phrases that do not mention minors, for methods that draw pictures of them."""
    return tuple(phrase for phrase in phrases if not mentions_minors(phrase))
