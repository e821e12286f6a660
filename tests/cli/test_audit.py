"""`anchors audit`: its text and JSON, its exit codes, and pictures of groups."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safediffusion.files.checked import read_json
from safediffusion.files.contents import Bias
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """World's pictures take most of the time."""
    from safediffusion.steering.audit import audit, pictures

    monkeypatch.setattr(audit, "skin_tones", lambda encoder: pictures.skin_tones(encoder, scenes=12))


def test_an_audit_prints_and_writes_what_it_found(command: Command, tmp_path: Path) -> None:
    done = command("anchors", "audit", "compact")
    assert done.returncode == 0, done.stderr
    for word in (
        "compact on world",
        "pink",
        "alley",
        "tone 4 of 4",
        "steering exchanges",
        "bias-compact.json",
    ):
        assert word in done.stdout, word
    found = read_json(tmp_path / "bias-compact.json", Bias)
    assert {row["axis"] for row in found["shifts"]} == {"shirt", "prop", "place"}
    assert len(found["shifts"]) == len(found["drifts"]) == len(found["alarms"]) == 17
    assert found["worst"] == max(abs(row["shift"]) for row in found["shifts"])
    assert {row["alpha"] for row in found["pictures"]} == {0.0, found["alpha"]}


def test_a_shift_above_the_limit_exits_with_3_after_writing_the_result(
    command: Command, tmp_path: Path
) -> None:
    done = command("anchors", "audit", "compact", "--fail-above", "0.01", "--out", "a/bias.json")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith("of G, above --fail-above 0.01")
    assert (tmp_path / "a/bias.json").is_file()
    assert command("anchors", "audit", "compact", "--fail-above", "0.9").returncode == 0
    assert command("anchors", "audit", "compact", "--alpha", "20").stdout.count("and this reward has 20") > 0


def write_pictures(folder: Path, table: str) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "groups.csv").write_text(table, encoding="utf-8")


def test_pictures_of_groups_are_compared_within_their_prompts(command: Command, tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]},a person in the park,{i // 2}" for i in range(8)]
    write_pictures(tmp_path / "faces", "\n".join(["file,group,prompt,pair", *rows, "0.png,,,"][:-1]) + "\n")
    done = command("anchors", "audit", "compact", "--images", "faces")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bias-compact.json").read_text(encoding="utf-8"))
    assert [(row["group"], row["n"]) for row in found["pictures"]] == [("a", 4), ("b", 4)] * 2
    assert found["pictures"][0]["shift"] == pytest.approx(-found["pictures"][1]["shift"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file\n0.png\n", "no column `group`"),
        ("file,group\n0.png,\n", "the label unsafe"),
        ("file,group\n../0.png,a\n", "leads out of the folder"),
        ("file,group,label\n0.png,a,good\n", "benign, unsafe"),
        ("file,group\n0.png,a\n1.png,a\n", "two or more"),
        ("file,group\nno.png,a\n", "no.png: not a file"),
        ("file,group,prompt\n0.png,a,x\n1.png,b,y\n", "all 2 groups"),
        ("file,group,prompt\n0.png,a,\n", "`prompt` is empty"),
    ],
)
def test_a_table_of_groups_is_read_strictly(
    command: Command, tmp_path: Path, table: str, message: str
) -> None:
    write_pictures(tmp_path / "faces", table)
    done = command("anchors", "audit", "compact", "--images", "faces")
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "bias-compact.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compakt"], "known: compact"),
        (["compact", "--fail-above", "-0.1"], "0 or more"),
        (["compact", "--fail-above", "nan"], "0 or more"),
        (["compact", "--alpha", "-1"], "--alpha is -1; set a number of at least 0"),
        (["compact", "--images", "nowhere"], "0 tables called groups"),
        (["compact", "--prompts", "unlabelled.txt"], "both labels"),
        (["compact", "--encoder", "nowhere"], "nowhere is not on this machine"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "unlabelled.txt").write_text("a dog\na cat\n", encoding="utf-8")
    done = command("anchors", "audit", *words)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("bias*"))
