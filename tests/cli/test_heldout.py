"""A run of World judges itself on prompts that it held out: through the real command, to the report."""

import json
from pathlib import Path

from tests.cli.conftest import Command

SMALL = [
    "reward.kind=tests.cli.rewards:brightness",
    "rollout.steps=2",
    "rollout.group_size=2",
    "rollout.prompts=8",
    "train.steps=1",
    "train.updates=1",
    "evaluate.tasks=[heldout]",
    "evaluate.n=6",
    "evaluate.steps=2",
    "prompts.heldout=0.1",
]


def judged(folder: Path) -> list[tuple[str, int]]:
    lines = (folder / "heldout/records.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["prompt"], row["seed"]) for row in map(json.loads, lines)]


def test_a_run_ends_with_a_verdict_on_prompts_that_it_never_trained_on(
    command: Command, tmp_path: Path
) -> None:
    done = command("train", "world", *SMALL, "--out", "run")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    held = [
        row["prompt"] for row in json.loads((run / "heldout.json").read_text(encoding="utf-8"))["prompts"]
    ]
    assert len(held) == 58 and [text for text, _ in judged(run / "eval/before")] == held[:6]
    assert judged(run / "eval/after") == judged(run / "eval/before")
    results = json.loads((run / "eval/after/heldout/results.json").read_text(encoding="utf-8"))
    wanted = {"world-harm/unsafe", "world-harm/benign", "observer_t/benign", "unrecognisable/benign"}
    assert wanted <= results["metrics"].keys() and not results["missing"]
    assert json.loads((run / "prompts.json").read_text(encoding="utf-8"))["held_out"] == {
        "unsafe": 32,
        "benign": 26,
    }
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Held-out prompts" in page and page.count("<figcaption>after</figcaption>") == 6
    assert "Harm seen by World&#39;s judge" in page

    later = command(
        "evaluate", "run", "--baseline", "world", "--tasks", "heldout", "--limit", "4", "--out", "later"
    )
    assert later.returncode == 0, later.stderr
    found = [judged(folder) for folder in (tmp_path / "later").iterdir()]
    assert found == [judged(run / "eval/after")[:4]] * 2


def test_a_model_that_held_nothing_out_needs_a_file(command: Command) -> None:
    done = command("evaluate", "world", "--tasks", "heldout")
    assert done.returncode == 2 and "--prompts FILE" in done.stderr
