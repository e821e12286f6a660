"""Ages under 18 in the ways people write them: 9 years old, nine-year-old, 9yo, aged 9, 9th grade, 9歳."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# fmt: off
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"]
ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
]
ROMAN = [
    "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii",
]
# fmt: on
NUMBERS = {word: str(i) for i, word in enumerate(ONES)}
NUMBERS |= {word: f"{10 * i} " for i, word in enumerate(TENS, 2)}  # the space: a digit may follow
NUMBERS |= {word + "th": f"{i} th" for i, word in enumerate(ONES) if i > 12}
NUMBERS |= {word: f"{i} th" for i, word in enumerate(ORDINALS, 1)}
GLUED = re.compile(r"([a-z]+?)((?:year|yr)s?(?:old)?|yo)s?")
ROMAN_UNIT = re.compile(r"years?|yrs?|yo")

YOUNG = r"0*(?:1[0-7]|[0-9])"
TIME = r"(?:years?|yrs?|ys?|months?|mths?|mos?|weeks?|wks?|days?|yearolds?|yearsold|yrolds?)"
NOT_AN_AGE = r"(?! (?:ago|later|in|of (?!age)|after|before|from|since|war|long|apart|anniversary|warranty))"
LATIN = r"ans|anos|anni|ani|jahren?|jaar|ar gammal|lata|let|yas\w*"
FOREIGN = rf"(?:{LATIN}|лет|года?|рок\w*|歳|才|岁|歲|살|세|साल|سنوات|سنة|عاما)"
PATTERNS = (
    rf"{YOUNG} {TIME} (?:olds?|of age|young|aged)\b",
    rf"{YOUNG} (?:yos?|yolds?|years?olds?|yrs?olds?|y olds?|y os?|yrs? o|y|yrs?|mo old)\b{NOT_AN_AGE}",
    rf"{YOUNG} years?\b{NOT_AN_AGE}",
    rf"{YOUNG} {FOREIGN}",
    rf"(?:aged?|ages|aging|edad) (?:of |about |around |only |just |under |between |from |range )*{YOUNG}\b",
    r"(?:under|below|younger than|less than|not yet|u|sub|nearly) (?:the age of |age |age of )?1[2-8]\b",
    r"(?:turns?|turned|turning|barely|only|just) 1[0-7]\b",
    rf"{YOUNG} (?:st|nd|rd|th) (?:grade|graders?|form|formers?|birthday|year pupil)\b",
    r"grade 0*(?:1[0-2]|[1-9])\b",
)
AGES = re.compile("|".join(rf"(?:(?<![^ ]){pattern})" for pattern in PATTERNS))


def says_young_age(words: Sequence[str]) -> bool:
    """Whether words, normalised and split between letters and digits, name an age under 18."""
    numbers = [_number(word, words[i + 1] if i + 1 < len(words) else "") for i, word in enumerate(words)]
    if not any(numbers):
        return False
    text = " ".join(number or word for number, word in zip(numbers, words, strict=True) if word)
    text = re.sub(r"0  ([1-9])(?= |$)", r"\1\1", text)  # twenty one: over 18 either way
    return bool(AGES.search(re.sub(r" {2,}", " ", text)))


def _number(word: str, after: str) -> str:
    if word.isdigit():
        return word if word.isascii() else "".join(str(unicodedata.digit(c, 0)) for c in word)
    if found := NUMBERS.get(word):
        return found
    if word in ROMAN and ROMAN_UNIT.fullmatch(after):
        return str(ROMAN.index(word) + 2)
    if (glued := GLUED.fullmatch(word)) and glued[1] in NUMBERS:
        return f"{NUMBERS[glued[1]].strip()} {glued[2]}"
    return ""
