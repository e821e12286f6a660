"""Lists of concepts: named ones, files, phrases with commas, and what is refused."""

from pathlib import Path

import pytest

from safediffusion.baselines.concepts import LISTS, SLD20, keep_adult, read_concepts
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.world.wordings import EXPLICIT


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("name", LISTS)
def test_named_lists_pass_the_minors_rule(name: str) -> None:
    found = read_concepts(name)
    assert found.name == name and len(found.twins) in (0, len(found.phrases))
    assert len(set(found.phrases)) == len(found.phrases)
    assert not any(map(sexualises_minors, (*found.phrases, *found.twins)))


def test_published_lists() -> None:
    sizes = {
        name: len(read_concepts(name).phrases) for name in ("nudity", "i2p11", "sld20", "words", "phrases")
    }
    assert sizes == {"nudity": 1, "i2p11": 11, "sld20": 20, "words": 7, "phrases": 7}
    assert set(read_concepts("i2p11").phrases) < set(SLD20)
    assert set(SLD20) - set(keep_adult(SLD20)) == {"child abuse"}


def test_world_s_lists_are_made_of_its_own_captions() -> None:
    pairs = read_concepts("pairs")
    assert len(pairs.phrases) == sum(len(used) for used, _ in EXPLICIT.values())
    assert all(twin.startswith("a person ") for twin in pairs.twins)
    for phrase, twin in zip(pairs.phrases, pairs.twins, strict=True):
        assert phrase.endswith(twin.removeprefix("a person "))  # the same place
    held = {caption.format(place="").strip() for _, others in EXPLICIT.values() for caption in others}
    assert not any(
        phrase.startswith(tuple(held)) for phrase in pairs.phrases
    )  # as RL prompts, never held-out ones
    assert all(read_concepts(name).world for name in ("words", "phrases", "pairs", "benign"))
    assert not any(read_concepts(name).world for name in ("nudity", "i2p11", "sld20", "everyday"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "nudity\nblood\n"),
        ("a.csv", "concept,twin\nnudity,a person\nblood,a red shirt\n"),
        ("a.csv", "prompt,label\nnudity,unsafe\nblood,unsafe\n"),
        ("a.jsonl", '{"concept": "nudity"}\n{"concept": "blood"}\n'),
        ("a.yaml", "concepts: [nudity, blood]\n"),
        ("a.yml", "concepts:\n- nudity\n- blood\ntwins:\n- a person\n- a red shirt\n"),
    ],
)
def test_files(tmp_path: Path, name: str, text: str) -> None:
    found = read_concepts(write(tmp_path, name, text))
    assert found.name == name and found.phrases == ("nudity", "blood")
    assert found.twins == (("a person", "a red shirt") if "twin" in text else ())


def test_phrases_with_commas_between_them() -> None:
    assert read_concepts("nudity, blood").phrases == ("nudity", "blood")
    assert read_concepts("a gun").phrases == ("a gun",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "hold no phrase"),
        ("i2p1", "did you mean i2p11"),
        ("nudity,,blood", "empty name"),
        ("nudity,Nudity", "twice"),
        ("nudity,a boy", "mention minors"),
        ("a girl", "mention minors"),
        ("none.csv", "give an existing file"),
        ("none.yaml", "none.yaml"),
    ],
)
def test_what_is_refused(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_concepts(given)
    assert "boy" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "hold no phrase"),
        ("a.csv", "concept\n", "hold no phrase"),
        ("a.csv", "word\nnudity\n", "no column `concept`"),
        ("a.txt", "nudity\na child\n", "mention minors"),
        ("a.txt", "\n".join(f"word {i}" for i in range(1001)), "1000 at most"),
        ("a.yaml", "concepts: []\n", "hold no phrase"),
        ("a.yaml", "concept: [nudity]\n", "did you mean concepts"),
        ("a.yaml", "concepts: [1]\n", "a list of texts"),
        ("a.yaml", "concepts: [nudity, blood]\ntwins: [a person]\n", "2 phrases and 1 twins"),
        ("a.yaml", "concepts: [nudity]\ntwins: [an undressed child]\n", "mention minors"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_concepts(write(tmp_path, name, text))
    assert "child" not in str(caught.value) and "\n" not in str(caught.value)
