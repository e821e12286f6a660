"""The commands of docs/tutorials/ run in order, as they stand, on tiny networks and with small numbers."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_commands import assets, tiny_world  # noqa: F401  (fixtures)
from tests.cli.test_examples import SMALL
from tests.pipelines import tiny_pipeline
from tests.test_docs import DOCS, FENCE, commands

# What each page promises to have made by its end.
MADE = {
    "see-it-work": ["runs/world/report.html", "sample.png", "anchors-scaled.png", "bias-scaled.json"],
    "harden-my-model": ["runs/mine/report.html", "runs/mine/samples/step_000000.png"],
    "compare-methods": ["uce/baseline.json", "table/table.md", "table/table.tex"],
}


def smaller(words: list[str]) -> list[object]:
    """A command with the numbers of a test."""
    return [*words, *SMALL] if words[0] == "train" else [re.sub(r"^64$", "7", word) for word in words]


def quick(words: list[str]) -> bool:
    """Whether a command needs no published detectors and is no second training of the page."""
    return not {"i2p,geneval", "doctor", "runs/short"} & set(words)


@pytest.mark.parametrize("name", MADE)
def test_the_commands_of_a_tutorial_run_in_order(command: Command, tmp_path: Path, name: str) -> None:
    text = (DOCS / f"tutorials/{name}.md").read_text(encoding="utf-8")
    tiny_pipeline(seed=1).save_pretrained(tmp_path / "my-model")
    for _, title, body in FENCE.findall(text):
        if title:
            (tmp_path / title).write_text(body, encoding="utf-8")
    for words in filter(quick, commands(text)):
        done = command(*smaller(words))
        assert done.returncode == 0, (words, done.stderr)
    assert [path for path in MADE[name] if not (tmp_path / path).is_file()] == []


def test_every_tutorial_is_run() -> None:
    assert {path.stem for path in (DOCS / "tutorials").glob("*.md")} == set(MADE)
