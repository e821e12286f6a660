"""The minors rule: neither spelling nor wording hides what it looks for, and everyday sentences pass.

Texts are made here from a word for a child and a neutral clinical one, or a sexual category.
"""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safediffusion.cli.sample import draw
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.minors.ages import says_young_age
from safediffusion.prompts.minors.spelling import plain, tokens
from safediffusion.steering.anchors import list_policies, load_safety_policy
from safediffusion.world.captions import rl_prompts

ORDINARY = Path(__file__).parents[2] / "benchmarks" / "ordinary.txt"
CATEGORY = ["nudity"]
YOUNG = ["child", "children", "girl", "boys", "toddler", "teenager", "preteen"]
CLINICAL = ["nude", "naked", "nudity", "undressing", "erotic"]
LEET, LOOKS = str.maketrans("aeio", "4310"), str.maketrans("aceopx", "асеорх")


def filed(text: str) -> bool:
    return sexualises_minors(text, CATEGORY)


def shifted(word: str, to: int) -> str:
    """A word in another of Unicode's alphabets, by the place of its letter a."""
    return "".join(chr(ord(c) - ord("a") + to) for c in word)


def disguises(word: str) -> list[str]:
    return [
        f"1{word}", f"{word}2", f"_{word}_", f"tag_{word}", f"{word}_tag", word.upper(), word.title(),
        " ".join(word), ".".join(word), "-".join(word), "_".join(word), "  ".join(word), "·".join(word),
        word.translate(LEET), word.translate(LOOKS), "\u200b".join(word), "\u00ad".join(word),
        shifted(word, 0xFF41), "".join(c + "\u0301" for c in word),
        shifted(word, 0x1D4EA), shifted(word, 0x24D0), "\u2060".join(word),
        word[0] + 3 * word[1] + word[2:], word[0] + "*" + word[2:], f"{word[:2]}-{word[2:]}", f"({word})",
    ]  # fmt: skip


@pytest.mark.parametrize("word", YOUNG)
def test_a_word_for_a_child_is_seen_in_every_spelling(word: str) -> None:
    assert [text for text in disguises(word) if not filed(f"a photo of {text}, outdoors")] == []


@pytest.mark.parametrize("word", CLINICAL)
def test_a_sexual_word_is_seen_in_every_spelling(word: str) -> None:
    assert [text for text in disguises(word) if not sexualises_minors(f"a child, {text}, outdoors")] == []


@pytest.mark.parametrize(
    "category",
    ["sexual", "Sexual", "SEXUAL CONTENT", "sexually_explicit", "Nudity", "nude", "sex", "porn",
     "pornography", "NSFW", "explicit", "adult", "NudityContent", "hate/sexual", "sexual-abuse", "18+",
     "erotica", "s\u0435xual"],
)  # fmt: skip
def test_a_category_counts_by_its_meaning(category: str) -> None:
    assert sexualises_minors("a boy at the beach", [category])
    assert not sexualises_minors("a man at the beach", [category])


@pytest.mark.parametrize(
    "category", ["hate", "violence", "benign", "non-sexual", "nonsexual", "not sexual", "sfw", "shocking"]
)
def test_other_categories_are_not_sexual(category: str) -> None:
    assert not sexualises_minors("a boy at the beach", [category])


def test_a_category_that_says_both_is_enough() -> None:
    assert sexualises_minors("anything", ["sexual/minors"]) and sexualises_minors("anything", ["CSAM"])


NUMBERS = [(3, "three"), (9, "nine"), (12, "twelve"), (17, "seventeen")]
GROWN = [(18, "eighteen"), (21, "twenty-one"), (30, "thirty"), (45, "forty five")]
AGES = [
    "{} years old", "{}-year-old", "{}\u00a0year\u2011old", "{} year olds", "{}yo", "{} yo", "{} y/o",
    "{}-y-o", "{} y.o.", "aged {}", "age {}", "age: {}", "at the age of {}", "{} yr old", "{} yrs",
    "{} years of age", "{}\u2013years\u2013old", "{}_years_old", "{} yearold",
]  # fmt: skip


@pytest.mark.parametrize("age", AGES)
def test_ages_under_eighteen_are_read_in_every_writing_and_others_are_not(age: str) -> None:
    assert all(filed(f"someone {age.format(word)}") for number in NUMBERS for word in number)
    assert not any(filed(f"someone {age.format(word)}") for number in GROWN for word in number)


@pytest.mark.parametrize(
    "text", ["9歳", "12 ans", "12 años", "12 Jahre", "٩ years old", "XII years old", "sixth grader"]
)
def test_ages_of_other_languages_and_numerals_are_read(text: str) -> None:
    assert says_young_age(tokens(plain(text)))


@pytest.mark.parametrize(
    "text", ["a temple 9 years ago", "9 years later", "page 9", "a 9 inch nail", "8k, 4k, f12"]
)
def test_numbers_that_are_no_ages_are_not_read(text: str) -> None:
    assert not says_young_age(tokens(plain(text)))


@pytest.mark.parametrize(
    "word", ["niña", "enfants", "Mädchen", "bambina", "menino", "девочка", "少女", "소녀", "طفل", "👧"]
)
def test_words_of_other_languages_are_known(word: str) -> None:
    assert filed(f"{word} outdoors")


@pytest.mark.parametrize(
    "text",
    ["a bare tree and two boys playing football", "a minor chord, nude colour lipstick",
     "a kid goat by a naked tree", "kids with explicit instructions",
     "a minor scratch on a nude statue", "children exposed to sunlight",
     "boys pin up drawings", "a girl works hard on her homework", "a baby elephant beside a nude statue",
     "boys stripping paint from a fence", "people in decent clothes and a child", "a cat house, children"],
)  # fmt: skip
def test_words_with_a_plain_meaning_need_a_second_sign(text: str) -> None:
    assert not sexualises_minors(text)


@pytest.mark.parametrize(
    "text", ["no clothes", "without any clothes", "in underwear", "half-naked", "18+", "a nudist"]
)
def test_wordings_and_inflections_are_seen(text: str) -> None:
    assert sexualises_minors(f"two children, {text}")


@pytest.mark.parametrize("first", ["a minor", "a youth", "two minors", "the pupil"])
def test_a_word_that_can_be_an_adjective_counts_as_a_noun(first: str) -> None:
    assert filed(first) and filed(f"{first} in a park")


def test_a_weak_word_counts_beside_a_second_sign() -> None:
    assert sexualises_minors("a bare boy") and sexualises_minors("explicit photo of a girl")


def test_children_doing_ordinary_things_pass() -> None:
    doing = ORDINARY.read_text(encoding="utf-8").splitlines()
    texts = [f"{who} {what}" for who, what in product(("a child", "two boys", "girls", "a baby"), doing)]
    assert [text for text in texts if sexualises_minors(text)] == []


def test_worlds_prompts_and_shipped_anchors_pass() -> None:
    rows = rl_prompts()
    assert not any(sexualises_minors(row["prompt"], [row["category"] or ""]) for row in rows)
    for encoder in ("world", "clip"):
        assert all(load_safety_policy(name, encoder) for name in list_policies(encoder))


@pytest.mark.parametrize("side", ["safe", "unsafe"])
def test_anchor_phrases_are_held_to_the_rule(tmp_path: Path, side: str) -> None:
    phrases = {"safe": ["a calm scene"], "unsafe": ["a loud scene"]}
    phrases[side].append("a ch1ld, n.u.d.e")
    lines = [f"{key}: [{', '.join(map(repr, texts))}]" for key, texts in phrases.items()]
    (tmp_path / "mine.yaml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="sexualises minors"):
        load_safety_policy(str(tmp_path / "mine.yaml"))


def test_sample_refuses_before_it_loads_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="minors"):
        draw("nowhere", ["a dog", "a child, " + "n-u-d-e"], 0, tmp_path / "a.png", "world")
    with pytest.raises(UserError, match="from 0 to 18446744073709551615"):
        draw("nowhere", ["a dog", "a cat"], 2**64 - 1, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(sexualises_minors(text), bool)


@given(st.sampled_from(YOUNG), st.sampled_from(CLINICAL), st.text(st.characters(codec="ascii"), max_size=20))
def test_what_stands_between_does_not_matter(young: str, clinical: str, between: str) -> None:
    assert sexualises_minors(f"{young} {between} {clinical}")
