"""`--strength`: exactly the base at 0 and the result at 1, in `sample`, in `evaluate` and in the report."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.model_hash import model_hash
from safediffusion.diffusion.strength import blend
from safediffusion.errors import UserError
from safediffusion.models.loaded import load_dialled
from tests.cli.conftest import Command
from tests.cli.test_commands import assets, tiny_world  # noqa: F401  (fixtures)
from tests.pipelines import tiny_pipeline


@pytest.fixture(params=[0, 2], ids=["whole network", "adapter"])
def run(request: pytest.FixtureRequest, command: Command, words: list[str], tmp_path: Path) -> Path:
    lr = "train.lr=0.01"
    sizes = ["train.steps=1", f"train.lora_rank={request.param}", "train.updates=2", lr]
    done = command("train", *words, *sizes, "--out", "run")
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def file(path: Path) -> bytes:
    return path.read_bytes()


def test_0_is_the_base_and_1_the_result_bit_for_bit(
    run: Path, tiny_model: Path, command: Command, tmp_path: Path
) -> None:
    base, trained = (model_hash(load_model(str(path), merged=True)) for path in (tiny_model, run / "model"))
    found = [model_hash(load_dialled(str(run), s)) for s in (0.0, 0.5, 1.0, 1.5)]
    assert (found[0], found[2]) == (base, trained) and len(set(found)) == 4
    images = {}
    for name, words in {
        "base": [tiny_model], "0": [run, "--strength", 0], "0.5": [run, "--strength", 0.5],
        "1": [run, "--strength", 1], "run": [run],
    }.items():  # fmt: skip
        done = command("sample", words[0], "a dog", *words[1:], "--out", f"{name}.png")
        assert done.returncode == 0, done.stderr
        images[name] = file(tmp_path / f"{name}.png")
    assert images["1"] == images["run"] and images["0"] not in (images["0.5"], images["1"])


def test_the_weights_lie_on_the_line_through_base_and_result() -> None:
    base, trained = (torch.nn.Linear(3, 3) for _ in range(2))
    base.weight.data[0, 0] = -0.0  # a difference of 0 added to it would lose its sign
    kept = {name: p.detach().clone() for name, p in trained.named_parameters()}
    for strength in (0.25, 1.5, 0.0):
        with torch.no_grad():
            for name, p in trained.named_parameters():
                p.copy_(kept[name])
        blend(base, trained, strength)
        start = base.weight.detach()
        wanted = start + strength * (kept["weight"] - start)
        torch.testing.assert_close(trained.weight.detach(), wanted, rtol=0, atol=1e-6)
    assert torch.equal(trained.weight.view(torch.int32), base.weight.view(torch.int32))


def results(path: Path) -> dict[str, Any]:
    return json.loads((path / "world-i2p/results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", [2], ids=["adapter"], indirect=True)
def test_evaluate_judges_every_strength_and_the_report_shows_the_curve(run: Path, command: Command) -> None:
    words = ("evaluate", "run", "--strength", "1,0.5,0", "--tasks", "world-i2p,world-benign", "--limit", 4)
    done = command(*words)
    assert done.returncode == 0, done.stderr
    found = [results(run / f"eval/strength-{s}") for s in ("0", "0.5", "1")]
    assert [one["strength"] for one in found] == [0.0, 0.5, 1.0]
    assert len({one["fingerprint"] for one in found}) == 3
    assert "run/eval/strength-1\nrun/report.html\n" in done.stdout
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'id="strength"' in page and (run / "plots/strength.png").is_file()
    assert command(*words, "--out", "other").returncode == 0
    assert results(run.parent / "other/run/strength-0.5")["metrics"] == found[1]["metrics"]
    gated = ("--strength", "0.5", "--fail-if", "world-i2p/blank_rate>0.01", "--limit", 4)
    assert command("evaluate", "run", "--tasks", "world-i2p", *gated).returncode == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sample", "world", "a dog", "--strength", "0.5"], "world is no run; give a run folder"),
        (["evaluate", "world", "--strength", "0,1"], "world is no run"),
        (["evaluate", "inner/model", "--strength", "0"], "give the run it lies in, "),
        (["sample", "world", "a dog", "--strength", "-0.5"], "steering has one sign"),
        (["evaluate", "world", "--strength", "1,-1"], "steering has one sign"),
        (["evaluate", "world", "--strength", "nan"], "is not a number"),
        (["evaluate", "world", "--strength", "1,x"], "is not a number"),
        (["evaluate", "world", "--strength", "1,1.0"], "a strength twice"),
        (["evaluate", "world", "--strength", ""], "empty"),
        (["evaluate", "--images", ".", "--strength", "1"], "--images has none"),
        (["sample", "begun", "a dog", "--strength", "1"], "no finished model"),
        (
            ["evaluate", "inner", "--strength", "0,1", "--fail-if", "world-i2p/safe_rate<0.5"],
            "one --strength",
        ),
    ],
)
def test_bad_strengths_exit_with_2(command: Command, tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "inner/model").mkdir(parents=True)
    (tmp_path / "begun").mkdir()
    for folder in ("inner", "begun"):
        (tmp_path / folder / "config.yaml").write_text("recipe: world\n", encoding="utf-8")
    done = command(*words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "sample.png").exists() and not (tmp_path / "results").exists()


def test_a_base_with_other_weights_is_refused(tmp_path: Path) -> None:
    from safediffusion.diffusion.strength import load_at_strength

    tiny_pipeline().save_pretrained(tmp_path / "trained")
    pipe = tiny_pipeline()
    config = dict(pipe.unet.config) | {"block_out_channels": (8, 16), "norm_num_groups": 4}
    pipe.unet = type(pipe.unet).from_config(config)
    pipe.save_pretrained(tmp_path / "base")
    with pytest.raises(UserError, match=r"is not what .* was trained from"):
        load_at_strength(ModelConfig(path=str(tmp_path / "base")), tmp_path / "trained", 0.5)
