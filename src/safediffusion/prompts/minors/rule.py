"""The minors rule: text that sexualises minors is never used, whoever wrote it. No option lifts this.

A text is left out when it, or what is said about it, has a sign of a minor (a word or an age) and a sign of
sexual content. Words that can also mean adults, such as girl, count as signs of a minor. Words with an
everyday meaning, such as bare or explicit, count only beside a second sign. In doubt a text is left out. The
words are in words.yaml, their spellings in spelling.py, ages in ages.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from safediffusion.prompts.minors.ages import says_young_age
from safediffusion.prompts.minors.lexicon import (
    AGE,
    BOTH,
    NEAR,
    NOUN,
    PLAIN,
    SEX,
    WEAK_AGE,
    WEAK_SEX,
    Lexicon,
    load_lexicon,
)
from safediffusion.prompts.minors.spelling import (
    LEET,
    fits,
    is_masked,
    readings,
    set_apart,
    shape,
    shapes,
    spellings,
    squeezed,
    tokens,
)

CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
ADULTS_ONLY = re.compile(r"\b(18|21) ?(\+|plus\b)")
NEGATIONS = {"non", "not", "no", "without"}
# After these words, one that can be an adjective ("minor") is a noun.
# fmt: off
AFTER_NOUN = {
    "and", "or", "in", "on", "at", "with", "who", "whose", "is", "are", "was", "being", "be", "wearing",
    "without", "by", "from", "of", "for", "as",
}
# Common words that form another word by accident: "in decent" and "pin up" are two words each.
PARTICLES = {"a", "an", "the", "in", "on", "off", "of", "to", "so", "no", "or", "at", "as", "up", "be", "by"}
# fmt: on
SHORTEST_JOINED = 5  # letters of a word found by joining its neighbours
LONGEST_JOINED = 40  # letters of two words written as one


@dataclass
class Signs:
    """The findings in a text: whether it mentions minors and sexual content, and its weak words."""

    age: bool = False
    sex: bool = False
    weak_age: set[str] = field(default_factory=set)
    weak_sex: set[str] = field(default_factory=set)

    def add(self, kind: int, word: str = "") -> None:
        """Add a word of this kind; without the word only strong kinds count."""
        self.age |= bool(kind & AGE)
        self.sex |= bool(kind & SEX)
        if word and kind & WEAK_AGE:
            self.weak_age.add(word)
        if word and kind & (WEAK_SEX | NEAR):
            self.weak_sex.add(word)

    @property
    def both(self) -> bool:
        """Whether a minor and sexual content are mentioned; two weak words count as one strong word."""
        return (self.age or len(self.weak_age) > 1) and (self.sex or len(self.weak_sex) > 1)


def sexualises_minors(text: str, categories: Iterable[str] = ()) -> bool:
    """Whether a text and its categories together mention minors and sexual content.

    Args:
        text: a prompt, a caption or a phrase.
        categories: names of harm that it is filed under, in anybody's wording.
    """
    signs = Signs()
    for spelling in spellings(_with_signs(text)):
        _read(spelling, signs)
    for name in categories:
        signs.add(category_kind(name))
    return signs.both


def _with_signs(text: str) -> str:
    if text.isascii():
        return text
    for sign, word in load_lexicon().signs.items():
        text = text.replace(sign, f" {word} ")
    return text


def _read(text: str, signs: Signs) -> None:
    """Add the findings in one spelling of a text."""
    words = _without_plain_phrases(tokens(text))
    kinds = [word_kind(word) if word else 0 for word in words]
    for word, kind in zip(words, kinds, strict=True):
        if kind:
            signs.add(kind, word)
    _read_phrases(words, signs)
    _read_neighbours(words, kinds, signs)
    signs.age = signs.age or says_young_age(words)
    signs.sex = signs.sex or "18+" in text
    _read_disguised(text, signs)


@lru_cache(maxsize=4096)
def category_kind(name: str) -> int:
    """What the name of a category indicates, as bits: weak words count, negated ones do not."""
    signs = Signs()
    for spelling in spellings(CAMEL.sub(" ", name)):
        _read_name(spelling, signs)
    return AGE * signs.age | SEX * signs.sex


def _read_name(name: str, signs: Signs) -> None:
    words = tokens(name)
    known = load_lexicon().categories
    for before, word in zip(["", *words], words, strict=False):
        kind = word_kind(word)
        if before not in NEGATIONS and not word.startswith("non"):
            signs.add(kind)
            signs.sex |= word in known.exact or word.startswith(known.beginnings)
            signs.age |= bool(kind & NOUN)
    signs.sex |= bool(ADULTS_ONLY.search(name))
    signs.age |= says_young_age(words)
    if NEGATIONS.isdisjoint(words):
        _read_phrases(words, signs)
        _read_disguised(name, signs)


def _without_plain_phrases(words: list[str]) -> list[str]:
    """The words, with an empty one for each of a phrase that has an everyday meaning."""
    for start, length, kind in load_lexicon().phrases_in(words):
        if kind == PLAIN:
            words[start : start + length] = [""] * length
    return words


def _read_phrases(words: Sequence[str], signs: Signs) -> None:
    for _, _, kind in load_lexicon().phrases_in(words):
        signs.add(kind)


def _read_neighbours(words: Sequence[str], kinds: Sequence[int], signs: Signs) -> None:
    """Weak words that are strong because of their neighbours, and words written in two parts."""
    last, exact = len(words) - 1, load_lexicon().exact
    for i, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        before, after = kinds[i - 1] if i else 0, kinds[i + 1] if i < last else 0
        ends = i == last or words[i + 1] in AFTER_NOUN
        if kind & NEAR and (after & (AGE | NOUN) or (before & (AGE | NOUN) and ends)):
            signs.sex = True
        if kind & NOUN and (ends or (before | after) & SEX):
            signs.age = True
        if i < last and not kind and not kinds[i + 1]:
            joined = word + words[i + 1]
            if {word, words[i + 1]} & PARTICLES or len(joined) < SHORTEST_JOINED:
                continue
            signs.add(exact.get(joined, 0) & BOTH)
            if i < last - 1:
                signs.add(exact.get(joined + words[i + 2], 0) & BOTH)


def _read_disguised(text: str, signs: Signs) -> None:
    """Words disguised by digits, signs, masks, separators or spaced letters, or in scripts without spaces."""
    lexicon = load_lexicon()
    for chunk in text.split():
        if not (chunk.isalpha() and chunk.isascii()) or _has_run(chunk):
            signs.add(_chunk_kind(chunk))
    for joined in set_apart(text):
        as_letters = joined.translate(LEET)
        for word, kind in lexicon.strong.items():
            if word in joined or shape(word) in as_letters:
                signs.add(kind)
        signs.age = signs.age or says_young_age(tokens(joined))
    for native, kind in lexicon.native if not text.isascii() else ():
        if native in text:
            signs.add(kind)


@lru_cache(maxsize=2**16)
def _has_run(chunk: str) -> bool:
    return bool(readings(chunk))


@lru_cache(maxsize=2**16)
def _chunk_kind(chunk: str) -> int:
    """What the other readings of a chunk indicate, strong kinds only."""
    lexicon, kind = load_lexicon(), 0
    for word in readings(chunk):
        kind |= word_kind(word)
    for form in shapes(chunk):
        kind |= lexicon.shapes.get(form, 0)
        kind |= lexicon.kind_of_shape(form)
    if is_masked(word := chunk.strip(".,;:!?()\"'")):
        kind |= _masked_kind(word)
    return kind & BOTH


def _masked_kind(chunk: str) -> int:
    lexicon, kind = load_lexicon(), 0
    for word, its in lexicon.strong.items():
        if len(word) == len(chunk) and fits(chunk, word):
            kind |= its
    for start, its in lexicon.beginnings:
        if len(start) <= len(chunk) and fits(chunk, start):
            kind |= its
    return kind


@lru_cache(maxsize=2**16)
def word_kind(word: str) -> int:
    """What a word indicates, as bits; also with doubled letters, and as two known words joined."""
    lexicon: Lexicon = load_lexicon()
    if kind := lexicon.kind(word):
        return kind
    if len(word) >= SHORTEST_JOINED and (kind := lexicon.squeezed.get(squeezed(word), 0)):
        return kind
    if any(stem in word for stem in lexicon.inside):
        return SEX
    for i in range(3, len(word) - 2) if len(word) <= LONGEST_JOINED else ():
        one, two = lexicon.parts.get(word[:i], 0), lexicon.parts.get(word[i:], 0)
        if one and two:
            return (one | two) & BOTH
    return 0
