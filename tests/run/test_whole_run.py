"""A whole run: what is in memory when its result is judged, and what it refuses to go on with."""

import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from safediffusion.config import load_config
from safediffusion.diffusion.load import load_model
from safediffusion.errors import UserError
from safediffusion.run import evaluations
from safediffusion.run import train as run
from tests.pipelines import tiny_pipeline


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a run of one round that is judged on one picture."""
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    (tmp_path / "p.csv").write_text(
        "prompt,label\na red square,benign\na person sunbathing,unsafe\na blue circle,benign\n", "utf-8"
    )
    return [
        f"model.path={tmp_path / 'tiny'}", "model.dtype=fp32", "prompts.path=p.csv",
        "reward.kind=tests.cli.rewards:brightness", "rollout.steps=2", "rollout.group_size=2",
        "rollout.prompts=2", "train.steps=1", "train.updates=1", "evaluate.tasks=[world-benign]",
        "evaluate.steps=2", "evaluate.n=1",
    ]  # fmt: skip


def test_the_trained_network_is_gone_when_the_written_one_is_loaded_to_be_judged(words, monkeypatch) -> None:
    trained: list[weakref.ref[Any]] = []
    monkeypatch.setattr(run, "load", kept(run.load, trained))
    alive = []

    def judged(*given: Any, **settings: Any) -> Any:
        alive.append(trained[0]() is not None)
        return load_model(*given, **settings)

    monkeypatch.setattr(evaluations, "load_model", judged)
    folder = run.train(load_config("world", words), Path("run"))
    assert alive == [False] and folder.report.is_file()


def kept(load: Any, found: list[weakref.ref[Any]]) -> Any:
    """`load`, which also notes the network that it loads."""

    def loading(*given: Any) -> Any:
        diffuser, rewards = load(*given)
        found.append(weakref.ref(diffuser.network))
        return diffuser, rewards

    return loading


def test_a_network_stored_in_half_is_judged_as_it_is_trained_and_loaded_no_second_time(
    words, monkeypatch
) -> None:
    def refuse(*given: Any, **settings: Any) -> None:
        raise AssertionError("a second network, in float32")

    monkeypatch.setattr(evaluations, "load_model", refuse)
    words += ["model.storage=bf16", "model.dtype=bf16", "train.lora_rank=2", "train.lr=0.05", "evaluate.n=2"]
    folder = run.train(load_config("world", words), Path("run"))
    before, after = (
        (folder.eval_path(when) / "world-benign/records.jsonl").read_text("utf-8")
        for when in ("before", "after")
    )
    cosines = [[json.loads(line)["cosine"] for line in text.splitlines()] for text in (before, after)]
    assert cosines[0] != cosines[1]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("p.csv", "prompt,label\na red ring,benign\na doll,benign\na knife,unsafe\n"), "prompts"),
        (("own.yaml", "safe: [safe]\nunsafe: [violence, hate]\n"), "anchor phrases"),
    ],
    ids=["prompts", "anchors"],
)  # fmt: skip
def test_a_run_does_not_go_on_with_other_prompts_or_anchors(
    words, change: tuple[str, str], what: str
) -> None:
    Path("own.yaml").write_text("safe: [safe]\nunsafe: [violence]\n", "utf-8")
    words = [word for word in words if not word.startswith(("reward.", "evaluate.tasks"))]
    words += ["evaluate.tasks=[]", "reward.anchors=own.yaml", "reward.encoder=world"]
    folder = run.train(load_config("world", words), Path("run"))
    folder.summary.unlink()
    run.train(load_config("world", words), Path("run"))
    folder.summary.unlink()
    Path(change[0]).write_text(change[1], "utf-8")
    with pytest.raises(UserError, match=f"the {what} of this run have changed since it began.*--fresh"):
        run.train(load_config("world", words), Path("run"))
