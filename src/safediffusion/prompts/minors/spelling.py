"""Reduces the many ways to write a word to one spelling: width, accents, look-alikes, digits, separators.

The minors rule compares words after this. Unicode's own data do most of it: NFKC, case folding, and the
confusables of Technical Standard 39 (package confusable-homoglyphs); anyascii transliterates what is left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

from anyascii import anyascii

LETTERS_AND_NUMBERS = re.compile(r"[^\W\d_]+|\d+")
APART = re.compile(r"(?<![^\W_])(?:[^\W_][\W_]{1,3}){2,}[^\W_](?![^\W_])")  # single letters with separators
LONG_RUN = re.compile(r"(.)\1{2,}")
DOUBLED = re.compile(r"(.)\1+")
NOT_LETTERS = re.compile(r"[\W\d_]+")
SEPARATORS = re.compile(r"[^\w@$!|+€£¢]+|_")
# Signs that stand for a letter; i and l share theirs and are compared as equal.
LEET = str.maketrans("013456789@$!|+€£¢l", "oieasbtbgasiiteeci")
LOOKS_LEET = re.compile(r"(?=.*[^\W\d_])(?=.*[\d@$!|+€£¢])")
MASK = re.compile(r"[*#%]")
FILLERS: dict[int, None] = dict.fromkeys(
    (0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800)
)  # invisible, although Unicode does not mark them so


def plain(text: str) -> str:
    """The text with folded case and width, without accents and invisible characters; scripts stay."""
    if text.isascii() and text.isprintable():
        return text.casefold()
    return _bare(unicodedata.normalize("NFKC", text.translate(FILLERS)).casefold())


def spellings(text: str) -> Iterator[str]:
    """The plain spelling; where it is not ASCII, also its look-alike and its transliteration."""
    first = plain(text)
    yield first
    if not first.isascii() or not text.isascii():
        wide = unicodedata.normalize("NFKC", text.translate(FILLERS))
        look = anyascii(_bare(wide).translate(look_alikes()))
        yield look.casefold()


def _bare(text: str) -> str:
    """The text without marks, invisible characters and control characters other than spaces."""
    kept = (c for c in unicodedata.normalize("NFKD", text) if _is_kept(c))
    return unicodedata.normalize("NFC", "".join(kept))


@lru_cache(maxsize=4096)
def _is_kept(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] != "M" and kind != "Cf" and (kind != "Cc" or character.isspace())


@cache
def look_alikes() -> dict[int, str]:
    """Characters and the ASCII letter that they look like, by Unicode's confusables; | for both i and l."""
    from confusable_homoglyphs.confusables import confusables_data

    found = {}
    for character, alike in confusables_data.items():
        letters = [each["c"] for each in alike if each["c"].isascii() and each["c"].isalnum()]
        if len(character) == 1 and not character.isascii() and letters:
            found[ord(character)] = "|" if {"l", "I"} & set(letters) else letters[0]
    return found


def tokens(text: str) -> list[str]:
    """Runs of letters and runs of digits; all other characters separate them."""
    return LETTERS_AND_NUMBERS.findall(text)


def set_apart(text: str) -> list[str]:
    """Words whose letters were written one by one, "a b c" or "a-b-c", joined."""
    return [re.sub(r"[\W_]+", "", match.group()) for match in APART.finditer(text)]


@lru_cache(maxsize=2**16)
def readings(chunk: str) -> frozenset[str]:
    """Other words that a chunk between two spaces can mean: joined, or with repeated letters shortened."""
    found = {NOT_LETTERS.sub("", chunk)}
    for word in [*tokens(chunk), *found]:
        if LONG_RUN.search(word):
            found |= {LONG_RUN.sub(r"\1", word), LONG_RUN.sub(r"\1\1", word)}
    return frozenset(found - set(tokens(chunk)) - {""})


@lru_cache(maxsize=2**16)
def shapes(chunk: str) -> frozenset[str]:
    """The words that a chunk can mean if its digits and signs stand for letters."""
    pieces = [chunk.rstrip("!|.,;:?"), *SEPARATORS.split(chunk)]
    pieces += [piece.strip("0123456789") for piece in pieces]
    return frozenset(NOT_LETTERS.sub("", p.translate(LEET)) for p in pieces if LOOKS_LEET.match(p))


def is_masked(chunk: str) -> bool:
    """Whether some letters of a word are replaced by a sign, as in w*rd."""
    letters = MASK.sub("", chunk)
    return len(chunk) > len(letters) > 1 and letters.isalpha()


def fits(chunk: str, word: str) -> bool:
    """Whether the remaining letters of a masked chunk are those of a word."""
    return all(a == b or MASK.match(a) for a, b in zip(chunk, word, strict=False))


def shape(word: str) -> str:
    """A word in which i and l are equal, as digits cannot distinguish them."""
    return word.replace("l", "i")


def squeezed(word: str) -> str:
    """A word without doubled letters."""
    return DOUBLED.sub(r"\1", word)
