"""The vocabulary of the minors rule, made ready for looking words and phrases up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from safediffusion.prompts.minors.spelling import plain, shape, squeezed

FILE = Path(__file__).with_name("words.yaml")
# What a word indicates. NEAR is weak, but strong beside a word for a child; NOUN means a minor as a noun.
AGE, WEAK_AGE, SEX, NEAR, WEAK_SEX, NOUN, PLAIN = (1 << i for i in range(7))
BOTH = AGE | SEX
# Forms that the rules of inflection produce, but that mean something else.
NO_FORMS = {"striped", "striping", "barely", "annals", "annal", "barre"}
MODIFIERS = ("little", "young", "tiny", "cute", "hot", "small", "under", "age", "aged", "bare")
SHORTEST_SQUEEZED = 5


@dataclass
class Words:
    """Words, and beginnings of words."""

    exact: set[str] = field(default_factory=set)
    beginnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Words:
        """From entries such as word or wor*."""
        names = [plain(entry) for entry in entries]
        beginnings = tuple(name.rstrip("*") for name in names if name.endswith("*"))
        return cls({name for name in names if not name.endswith("*")}, beginnings)


class Lexicon:
    """Words and phrases with what they indicate.

    Attributes:
        exact: every form of every word, with its kind in bits.
        strong: of these, the ones that are signs alone.
        shapes: the strong ones by shape.
        squeezed: the strong words as they are listed, without doubled letters.
        parts: what two words written as one may consist of.
        inside: sexual stems that count anywhere in a word.
        native: words of scripts without spaces.
        categories: further names of sexual categories.
        signs: emoji and the words they stand for.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.exact: dict[str, int] = {}
        self.squeezed: dict[str, int] = {}
        self.beginnings: list[tuple[str, int]] = []
        self._phrases: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        age, sexual = data["age"], data["sexual"]
        self._add(age["strong"], AGE, _plurals)
        self._add(age["weak"], WEAK_AGE, _plurals)
        self._add(age["noun"], NOUN, _plurals)
        self._add(sexual["strong"], SEX, _inflections)
        self._add(sexual["near"], NEAR, _inflections)
        self._add(sexual["weak"], WEAK_SEX, _inflections)
        self._add(data["both"], BOTH, _plurals)
        for words, kind in ((age["other"], AGE), (sexual["other"], SEX)):
            self._add(words, kind, lambda word: {word})
        for phrases, kind in ((data["plain"], PLAIN), (age["phrases"], AGE), (sexual["phrases"], SEX)):
            self._add_phrases(phrases, kind)
        self._index()
        self.inside: list[str] = sexual["inside"]
        self.native = [(plain(w), AGE) for w in age["native"]] + [(plain(w), SEX) for w in sexual["native"]]
        self.categories = Words.of(data["categories"])
        self.signs: dict[str, str] = data["signs"]

    def _add(self, entries: Iterable[str], kind: int, forms: Any) -> None:
        words = Words.of(entries)
        self.beginnings += [(beginning, kind) for beginning in words.beginnings]
        for form in {form for word in words.exact for form in forms(word)} - NO_FORMS:
            self.exact[form] = self.exact.get(form, 0) | kind
        for word in words.exact:
            if kind & BOTH and len(short := squeezed(word)) >= SHORTEST_SQUEEZED and word not in NO_FORMS:
                self.squeezed[short] = self.squeezed.get(short, 0) | kind

    def _add_phrases(self, phrases: Iterable[str], kind: int) -> None:
        for phrase in phrases:
            for words in product(*(part.split("|") for part in str(phrase).split())):
                self._phrases.setdefault(words[0], []).append((words, kind))

    def _index(self) -> None:
        self.strong = {
            word: kind & BOTH for word, kind in self.exact.items() if kind & BOTH and len(word) > 2
        }
        self.shapes: dict[str, int] = {}
        for word, kind in self.strong.items():
            self.shapes[shape(word)] = self.shapes.get(shape(word), 0) | kind
        ascii_words = {word: kind for word, kind in self.strong.items() if word.isascii()}
        self.parts = ascii_words | dict.fromkeys(MODIFIERS, PLAIN)

    def kind(self, word: str) -> int:
        """What a word in any of its forms indicates, as bits; 0 is nothing."""
        return self.exact.get(word, 0) or next(
            (k for start, k in self.beginnings if word.startswith(start)), 0
        )

    def kind_of_shape(self, form: str) -> int:
        """The same for a shape, by beginnings of words."""
        return next((k for start, k in self.beginnings if form.startswith(shape(start))), 0)

    def phrases_in(self, words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
        """Start, length and kind of every known phrase."""
        for i, word in enumerate(words):
            for phrase, kind in self._phrases.get(word, ()):
                if tuple(words[i : i + len(phrase)]) == phrase:
                    yield i, len(phrase), kind


@cache
def load_lexicon() -> Lexicon:
    """The shipped vocabulary."""
    return Lexicon(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def _plurals(word: str) -> set[str]:
    found = {word, word + "s", word + "es"}
    return found | {word[:-1] + "ies"} if word.endswith("y") else found


def _inflections(word: str) -> set[str]:
    found = _plurals(word) | {word + ending for ending in ("ed", "ing", "ly", "ness")}
    if word.endswith("e"):
        found |= {word + "d", word[:-1] + "ing"}
    if word.endswith("y"):
        found |= {word[:-1] + ending for ending in ("ied", "ily", "iness", "ier", "iest")}
    return found
