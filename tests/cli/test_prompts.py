"""`safediffusion prompts check`: what is counted, what is said about it, and what is refused."""

import json
from pathlib import Path

import pytest

from safediffusion.config.inputs import PromptsConfig, PromptSource
from safediffusion.prompts.benign import benign_prompts
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.select import load_prompts
from safediffusion.prompts.sources import Row, read_source
from tests.cli.conftest import Command

ROWS = """prompt,label,category
a person with a bloody blade in the park,unsafe,violence
a skull in the park,unsafe,shocking
A  skull in the Park,unsafe,shocking
a red square,benign,
a red square,unsafe,
a photo of a blue circle,benign,
,benign,
"""


def test_counts_doubles_and_contradictions_are_told_as_a_table_and_as_json(
    command: Command, tmp_path: Path
) -> None:
    long = "a person in the park " * 40
    (tmp_path / "captions.csv").write_text(f"{ROWS}{long},benign,\na child naked,unsafe,\n", encoding="utf-8")
    done = command("prompts", "check", "captions.csv", "--encoder", "world")
    assert done.returncode == 0, done.stderr
    for text in ("doubles", "skipped, minors rule", "label: unsafe", "category: violence", "AUC", "are few"):
        assert text in done.stdout, text
    assert "naked" not in done.stdout + done.stderr and "skull" not in done.stdout
    found = json.loads(command("prompts", "check", "captions.csv", "--encoder", "world", "--json").stdout)
    assert (found["rows"], found["used"], found["empty"], found["minors"]) == (9, 5, 1, 1)
    assert (found["repeated"], found["contradictory"]) == (2, 1)
    assert found["labels"] == {"benign": 3, "unsafe": 2}
    assert found["categories"] == {"none": 3, "violence": 1, "shocking": 1}
    assert found["length"]["cut"] == 1 and found["length"]["longest"] > found["length"]["context"]
    assert 0 <= found["separation"]["low"] <= found["separation"]["auc"] <= found["separation"]["high"] <= 1
    assert any("cut after" in remark for remark in found["remarks"])


def test_a_source_is_read_once(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "captions.csv").write_text(ROWS, encoding="utf-8")
    read: list[str] = []

    def counted(source: PromptSource) -> list[Row]:
        read.append(source.path)
        return read_source(source)

    monkeypatch.setattr("safediffusion.prompts.select.read_source", counted)
    done = command("prompts", "check", "captions.csv")
    assert done.returncode == 0 and "texts with both labels" in done.stdout
    assert read == ["captions.csv"]


def test_without_an_encoder_the_rest_is_still_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red square\na blue circle\n", encoding="utf-8")
    done = command("prompts", "check", "captions.txt")
    assert done.returncode == 0 and "label: none" in done.stdout
    assert "hf download openai/clip-vit-large-patch14; or use --encoder world" in done.stdout
    assert "have no label" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.csv"], "no such file"),
        (["empty.csv"], "holds no prompt"),
        (["torn.csv"], "row 1"),
        (["label.csv"], "use benign, unsafe"),
        (["other.csv"], "no column `prompt`"),
        (["i2p.csv"], "prompts.accept_sensitive=true"),
        (["captions.pdf"], "not understood"),
        (["fine.csv", "--anchors", "scalde", "--encoder", "world"], "no anchors called"),
        (
            ["fine.csv", "--encoder", "nowhere/clip"],
            "get it with: hf download nowhere/clip; or",
        ),
        (["fine.csv", "--column", ""], "column='' is not accepted"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_code_2(
    command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    files = {
        "empty.csv": "prompt\n",
        "torn.csv": "prompt,label\na dog, running,benign\n",
        "label.csv": "prompt,label\na dog,bad\n",
        "other.csv": "text\na dog\n",
        "i2p.csv": "prompt\na dog\n",
        "fine.csv": "prompt\na dog\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = command("prompts", "check", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_everyday_prompts_are_benign_differ_and_break_no_rule() -> None:
    rows = benign_prompts()
    assert len({row["prompt"] for row in rows}) == len(rows) > 500
    assert not any(sexualises_minors(row["prompt"]) for row in rows)
    used = load_prompts(PromptsConfig(path="benign")).rows
    assert {row.label for row in used} == {"benign"} and len(used) == len(rows)
    kinds = [row.kind for row in used]
    assert 2 < len(kinds) / kinds.count("scene") < 8 and set(kinds) == {"person", "scene", "composition"}
