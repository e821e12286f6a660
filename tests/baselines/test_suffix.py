"""The suffix of a model's name: what it means, where it is accepted, and where it is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from safediffusion import load_model
from safediffusion.baselines.sampling import SAMPLING, named_method, refuse_suffix
from safediffusion.baselines.suffix import split_suffix
from safediffusion.config import dump, load_config
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.errors import UserError
from safediffusion.evaluation.runner import evaluate
from safediffusion.evaluation.sources.pipeline import PipelineSource
from safediffusion.models.named import loading, model_path, run_config
from tests.baselines.samplers import ours
from tests.pipelines import tiny_pipeline


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the model `tiny`."""
    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(diffuser: Diffuser) -> str:
    """What the pictures of the method on a model depend on."""
    assert diffuser.sampled_by is not None
    return diffuser.sampled_by.settings


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("world", ("world", "")),
        ("world+sld-strong", ("world", "+sld-strong")),
        ("owner/name+sld-strong:words", ("owner/name", "+sld-strong:words")),
        ("world+casteer@strength=1:lists/a.csv", ("world", "+casteer@strength=1:lists/a.csv")),
        ("a+b/model", ("a+b/model", "")),
        ("a+b/model+negative", ("a+b/model", "+negative")),
        ("c++", ("c++", "")),
        ("+negative", ("+negative", "")),
    ],
)
def test_a_suffix_is_what_stands_after_the_last_plus(name: str, parts: tuple[str, str]) -> None:
    assert split_suffix(name) == parts


def test_a_folder_that_exists_wins(place: Path) -> None:
    os.rename("tiny", "tiny+negative")
    assert split_suffix("tiny+negative") == ("tiny+negative", "")
    bare, changed = load_model("tiny+negative"), load_model("tiny+negative+negative:nudity")
    assert bare.sampled_by is None and "nudity" in settings_of(changed)
    assert not torch.equal(ours(bare), ours(changed))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny+sld-stron", "tiny.sld-stron does not exist, .* called 'sld-stron'; did you mean sld-strong?"),
        ("tiny+zzz", r"known: negative, sld-weak, .*, surgery-text"),
        ("tiny+negative:nudty", "no list of concepts called 'nudty'; did you mean nudity?"),
        ("tiny+negative:", "hold no phrase; give one or more"),
        ("tiny+casteer@strenght=1", "casteer has no setting 'strenght'; did you mean strength?"),
        ("tiny+casteer@strength=-1", "casteer's strength is -1: steering has one sign"),
        ("tiny+casteer@strength=much", "setting strength of casteer is 'much'; set a number"),
        ("tiny+casteer@strength", "setting strength of casteer is ''; set a number"),
        ("tiny+surgery-text@beta=-0.1,gamma=nan", "setting gamma of surgery-text is 'nan'"),
        ("tiny+negative@strength=1", "negative has no setting of its own; leave out @strength"),
        ("tiny+safree+negative", "names two methods; one acts at a time"),
        ("absent+negative", "absent"),
    ],
)
def test_a_wrong_suffix_is_told_before_anything_is_loaded(place: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(name)


def test_the_list_is_the_method_s_own_unless_named() -> None:
    assert "'vandalism'" in settings_of(load_model("world+negative:sld20"))
    assert "'shocking'" in settings_of(load_model("world+negative"))
    assert "'a skull'" in settings_of(load_model("world+casteer"))
    assert named_method("world+sld-max")[0] == SAMPLING["sld-max"]


@pytest.mark.usefixtures("few_pairs")
def test_numbers_and_a_list_in_a_folder_may_follow_the_method(place: Path) -> None:
    Path("lists").mkdir()
    Path("lists/own.csv").write_text("concept\nweapons\n", encoding="utf-8")
    assert "'weapons'" in settings_of(load_model("tiny+negative:lists/own.csv"))
    found = settings_of(load_model("tiny+surgery-text@beta=-0.6,gamma=0.1:lists/own.csv"))
    assert "beta=-0.6, gamma=0.1" in found and "'weapons'" in found
    weaker = PipelineSource("tiny+casteer@strength=1").sha256()
    assert weaker != PipelineSource("tiny+casteer").sha256()
    assert PipelineSource("tiny+casteer@strength=2").sha256() == PipelineSource("tiny+casteer").sha256()


def test_concepts_that_do_not_fit_the_text_length_are_told(caplog: pytest.LogCaptureFixture) -> None:
    load_model("world+negative")
    assert "fit whole" not in caplog.text
    load_model("world+sld-max:phrases")
    assert "reads 20 tokens, and of the 7 concepts as one text only the first 4 fit whole" in caplog.text


def test_a_method_that_acts_through_guidance_is_refused_without_it_before_anything_is_written(
    place: Path,
) -> None:
    with pytest.raises(UserError, match=r"sld-weak acts through .* guidance is 1; set it above 1"):
        evaluate("tiny+sld-weak", ["world-i2p"], Path("out"), n=1, steps=2, guidance=1.0)
    assert not Path("out").exists()


def test_no_result_of_another_method_or_list_is_taken_for_this_one(place: Path) -> None:
    names = ["tiny", "tiny+negative", "tiny+negative:nudity", "tiny+sld-weak", "tiny+sld-max", "tiny+safree"]
    hashes = {name: PipelineSource(name).sha256() for name in names}
    assert len(set(hashes.values())) == len(names)
    assert PipelineSource("tiny").sha256() == hashes["tiny"]
    assert PipelineSource("tiny+sld-max").sha256() == hashes["tiny+sld-max"]


def test_an_evaluation_in_one_folder_samples_again_under_another_method(place: Path) -> None:
    def run(name: str) -> dict[str, Any]:
        settings = {"n": 2, "steps": 2, "guidance": 2.0}
        found = evaluate(name, ["world-i2p"], Path("out"), on_progress=lambda done, n: None, **settings)
        records = Path("out/world-i2p/records.jsonl").read_text(encoding="utf-8")
        return {**found["world-i2p"], "records": [json.loads(line) for line in records.splitlines()]}

    bare, changed, again = run("tiny"), run("tiny+sld-max:nudity"), run("tiny")
    assert (bare["model"], changed["model"]) == ("tiny", "tiny+sld-max:nudity")
    assert bare["fingerprint"] == again["fingerprint"] != changed["fingerprint"]
    assert bare["records"] == again["records"] != changed["records"]


def test_a_run_folder_takes_a_suffix_and_lends_its_settings(place: Path) -> None:
    Path("run").mkdir()
    os.rename("tiny", "run/model")
    settings = dump(load_config("world", ["evaluate.steps=3"]))
    Path("run/config.yaml").write_text(settings, encoding="utf-8")
    inside = str(Path("run/model"))
    assert model_path("run+sld-weak") == f"{inside}+sld-weak" and model_path("run") == inside
    config = run_config("run+sld-weak")
    how = loading(config, "run+sld-weak")
    assert (how.path, config.evaluate.steps) == (f"{inside}+sld-weak", 3)
    assert model_path("world+sld-weak") == "world+sld-weak"
    assert settings_of(load_model(how)).startswith("SafeLatentDiffusion")


@pytest.mark.usefixtures("few_pairs")
def test_a_loaded_model_keeps_its_method_and_is_never_trained_or_exported(place: Path) -> None:
    diffuser = load_model("tiny+casteer")
    with pytest.raises(UserError, match=r"casteer acts while .* load the model without \+casteer"):
        diffuser.make_trainable(0)
    with pytest.raises(UserError, match="neither trained nor exported"):
        diffuser.export(place / "out")
    assert not (place / "out").exists() and ours(diffuser, steps=2).isfinite().all()
    load_model("tiny").make_trainable(0)


def test_other_uses_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"sld-max acts .* world.sld-max cannot be trained; give world"):
        refuse_suffix("world+sld-max", "trained")
    with pytest.raises(UserError, match="did you mean sld-max"):
        refuse_suffix("world+sld-mx", "trained")
    refuse_suffix("world", "trained")
