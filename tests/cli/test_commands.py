"""The other commands, on World with tiny random networks in the place of the trained ones."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from safediffusion import world
from safediffusion.world.networks.judges import HARM_LABELS, PART_LABELS, new_judge
from tests.cli.conftest import Command
from tests.evaluation.conftest import save_observer
from tests.pipelines import tiny_flux2, tiny_pipeline


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("assets")
    torch.manual_seed(0)
    new_judge(HARM_LABELS).save_pretrained(path / "harm-judge")
    new_judge(PART_LABELS).save_pretrained(path / "parts-judge")
    save_observer(path / "observer")
    save_observer(path / "reward")
    tiny_pipeline().save_pretrained(path / "pipeline")
    return path


@pytest.fixture(autouse=True)
def tiny_world(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "ASSETS", assets)


def test_evaluate_judges_both_models_alike_and_compares(command: Command, tmp_path: Path) -> None:
    done = command(
        "evaluate", world.asset("pipeline"), "--tasks", "world-i2p", "--baseline", "world", "--limit", 7
    )
    assert done.returncode == 0, done.stderr
    result, baseline = (
        json.loads(f.read_text(encoding="utf-8"))
        for f in sorted(tmp_path.glob("results/*/world-i2p/results.json"))
    )
    assert result["model_sha256"] == baseline["model_sha256"]
    assert result["metrics"] == baseline["metrics"]


def test_pictures_are_judged_scored_again_and_compared(command: Command, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for i in range(3):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture = Image.radial_gradient("L").resize((16, 12)).rotate(90 * i).convert("RGB")
            picture.save(tmp_path / folder / f"{i}_0.png")
        words = ("evaluate", "--images", folder, "--prompts", "p.csv", "--protocols", "rece-rate")
        (tmp_path / "p.csv").write_text("prompt\na\nb\nc\nd\n", encoding="utf-8")
        done = command(*words)
        assert done.returncode == 0, done.stderr
        assert "1 of 4 images failed" in done.stdout
    assert command("evaluate", "results/one", "--protocols", "mace-boxes").returncode == 0
    done = command("compare", "results/one", "results/two", "--out", "table")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "table").iterdir()} == {
        f"table.{e}" for e in ("md", "csv", "tex", "json")
    }


def test_sample_with_comparison_writes_a_sheet(command: Command, tmp_path: Path) -> None:
    done = command("sample", "world", "a red square", "a person", "--compare", "world", "--out", "sheet.png")
    assert done.returncode == 0, done.stderr
    width, height = Image.open(tmp_path / "sheet.png").size
    assert width > 4 * 192 and height > 192  # two pairs beside each other


def test_steps_and_guidance_of_a_sample_are_the_ones_that_are_asked_for(
    command: Command, tmp_path: Path
) -> None:
    def drawn(*words: object) -> bytes:
        done = command("sample", "world", "a red square", *words)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "sample.png").read_bytes()

    usual = drawn()
    assert drawn("--steps", 16, "--guidance", 3) == usual  # as evaluations of other models than runs
    assert drawn("--steps", 3) != usual != drawn("--guidance", 1)
    for words, message in (
        (("--steps", 0), "steps=0 is not accepted"),
        (("--steps", 5000), "--steps. to at most"),
        (("--guidance", "nan"), "guidance=nan is not accepted"),
        (("--guidance", -1), "guidance=-1"),
    ):
        done = command("sample", "world", "a red square", *words)
        assert done.returncode == 2 and re.search(message, done.stderr), done.stderr


def test_a_model_distilled_to_few_steps_is_sampled_without_guidance(command: Command, tmp_path: Path) -> None:
    tiny_flux2(distilled=True).save_pretrained(tmp_path / "klein")
    words = ("sample", "klein", "a red square", "--load", "resolution=16", "--steps", 2)
    done = command(*words)
    assert done.returncode == 2 and "--guidance 1" in done.stderr
    assert not (tmp_path / "sample.png").exists()
    done = command(*words, "--guidance", 1)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "sample.png").size == (16, 16)


def test_one_sample_is_the_plain_picture(command: Command, tmp_path: Path) -> None:
    assert command("sample", "world", "a red square", "--seed", 3).returncode == 0
    assert Image.open(tmp_path / "sample.png").size == (16, 16)


def test_anchors_check_reports_auc_contributions_and_alpha(command: Command, tmp_path: Path) -> None:
    done = command("anchors", "check", "compact")
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout and "recommended" in done.stdout and "nudity" in done.stdout
    assert (tmp_path / "anchors-compact.png").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["anchors", "list"], "empty-positive"),
        (["anchors", "show", "compact"], "nudity"),
        (["recipes", "list"], "world-paper"),
        (["recipes", "show", "world-grpo"], "algorithm: grpo"),
        (["tasks", "list"], "world-geneval"),
        (["tasks", "show", "world-i2p"], "inappropriate_rate"),
        (["tasks", "show", "i2p"], "rece-count/sexual"),
        (["doctor"], "torchvision"),
    ],
)
def test_looking_things_up(command: Command, words: list[str], text: str) -> None:
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert text in done.stdout


def test_doctor_speaks_json(command: Command) -> None:
    report = json.loads(command("doctor", "--json").stdout)
    assert report["ok"] and report["env"]["torch"]


def test_doctor_fails_without_world(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(world, "ASSETS", tmp_path)
    done = command("doctor")
    assert done.returncode == 1 and "safediffusion world build" in done.stdout


def test_doctor_compares_a_recipe_with_the_machine(command: Command) -> None:
    done = command("doctor", "world")
    assert done.returncode == 0, done.stderr
    assert re.search(r"ok   memory +world needs 0\.\d+ GiB of \d+\.\d GiB", done.stdout)
    assert re.search(r"ok   run folder +world: 0\.\d+ GiB of \d+\.\d GiB that are free", done.stdout)


def test_doctor_fails_where_a_recipe_does_not_fit(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("safediffusion.cli.doctor.device_memory", lambda device: 2**20)
    (tmp_path / "half.yaml").write_text("extends: world\nmodel:\n  dtype: fp16\n", encoding="utf-8")
    done = command("doctor", "half.yaml")
    assert done.returncode == 1
    assert re.search("BAD  memory +half needs .*lower train.micro_batch", done.stdout)
    assert re.search("model.dtype=fp16 is slow here; set auto or (fp32|bf16)", done.stdout)


def test_doctor_refuses_a_recipe_that_is_not_there(command: Command) -> None:
    done = command("doctor", "wrld")
    assert done.returncode == 2 and "wrld" in done.stderr


def test_recipes_copy_never_overwrites(command: Command, tmp_path: Path) -> None:
    assert command("recipes", "copy", "world", "mine.yaml").returncode == 0
    assert "algorithm: pepg" in (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    again = command("recipes", "copy", "world", "mine.yaml")
    assert again.returncode == 2 and "exists already" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "folder", "a dog"], "model_index.json"),
        (["sample", "world", "a dog", "an undressed child"], "never drawn"),
        (["evaluate", "world", "--tasks", "world-i2q"], "world-i2p"),
        (["evaluate", "world", "--tasks", "i2p"], "--accept-sensitive-content"),
        (["evaluate"], "--images DIR"),
        (["evaluate", "world", "--protocols", "rece-rat"], "did you mean rece-rate"),
        (["report", "folder"], "not a run folder"),
        (["export", "folder"], "no finished model"),
        (["anchors", "show", "none"], "compact"),
        (["anchors", "check", "compact", "--prompts", "a.txt"], "label"),
    ],
)
def test_bad_usage_exits_with_2(command: Command, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_text("a dog\n", encoding="utf-8")
    done = command(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr


def test_verbose_adds_the_traceback_and_keeps_the_exit_code(command: Command) -> None:
    done = command("recipes", "show", "none", "-v")
    assert done.returncode == 2 and "Traceback" in done.stderr
