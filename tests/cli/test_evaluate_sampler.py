"""`--steps` and `--guidance` of what is judged: `evaluate`, its strengths, `relapse`; part of a result."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from safediffusion.evaluation.examiner import Examiner
from tests.cli.conftest import Command
from tests.cli.test_commands import assets, tiny_world  # noqa: F401  (fixtures)
from tests.pipelines import tiny_flux2

JUDGED = ("evaluate", "world", "--tasks", "world-i2p", "--limit", 2)


def result(path: Path) -> dict[str, Any]:
    return json.loads((path / "results.json").read_text(encoding="utf-8"))


def drawn_with(path: Path) -> tuple[int, float]:
    sampler = result(path)["sampler"]
    return sampler["steps"], sampler["guidance"]


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("distilled") / "klein"
    tiny_flux2(distilled=True).save_pretrained(path)
    return path


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are sampled."""
    sizes: list[int] = []
    examined = Examiner.__call__

    def counted(self: Examiner, rows: Any) -> Any:
        sizes.append(len(rows))
        return examined(self, rows)

    monkeypatch.setattr(Examiner, "__call__", counted)
    return sizes


def test_a_model_distilled_to_few_steps_is_judged_without_guidance(
    command: Command, klein: Path, tmp_path: Path
) -> None:
    (tmp_path / "klein").symlink_to(klein)
    words = ("evaluate", "klein", "--tasks", "world-i2p", "--limit", 2, "--load", "resolution=16")
    done = command(*words, "--steps", 2)
    assert done.returncode == 2 and "--guidance 1" in done.stderr
    assert not (tmp_path / "results").exists()
    done = command(*words, "--steps", 2, "--guidance", 1)
    assert done.returncode == 0, done.stderr
    assert drawn_with(tmp_path / "results/klein/world-i2p") == (2, 1.0)


def test_results_of_another_sampler_are_not_used_again(
    command: Command, tmp_path: Path, batches: list[int]
) -> None:
    folder, found = tmp_path / "results/world/world-i2p", []
    for words in ((), ("--steps", 2), ("--steps", 2, "--guidance", 1), ("--guidance", 1), ()):
        for _ in range(2):  # the second time nothing is drawn
            done = command(*JUDGED, *words)
            assert done.returncode == 0, done.stderr
        found.append((drawn_with(folder), (folder / "records.jsonl").read_text(encoding="utf-8")))
    assert [sampler for sampler, _ in found] == [(16, 3.0), (2, 3.0), (2, 1.0), (16, 1.0), (16, 3.0)]
    assert len({records for _, records in found}) == 4 and found[0] == found[-1]
    assert batches == [2] * 5


def test_a_task_with_a_sampler_of_its_own_is_drawn_as_it_is_asked_for(
    command: Command, tmp_path: Path
) -> None:
    words = ("evaluate", "world", "--tasks", "schedulers,world-i2p", "--limit", 9, "--steps", 3)
    assert command(*words).returncode == 0
    found = [drawn_with(tmp_path / "results/world" / task) for task in ("schedulers", "world-i2p")]
    assert found == [(3, 3.0), (3, 3.0)]
    with_baseline = (*JUDGED, "--baseline", "world", "--steps", 3, "--out", "both")
    assert command(*with_baseline).returncode == 0
    assert drawn_with(tmp_path / "both/world/world-i2p") == (3, 3.0)


def test_every_strength_is_drawn_as_it_is_asked_for(
    command: Command, words: list[str], tmp_path: Path
) -> None:
    assert command("train", *words, "train.steps=1", "--out", "run").returncode == 0
    dial = ("evaluate", "run", "--strength", "0,1", "--tasks", "world-i2p", "--limit", 2)
    done = command(*dial, "--guidance", 1, "--steps", 3)
    assert done.returncode == 0, done.stderr
    assert [drawn_with(tmp_path / f"run/eval/strength-{s}/world-i2p") for s in "01"] == [(3, 1.0)] * 2


def test_a_relapse_draws_its_pictures_and_its_judgements_alike(
    command: Command, klein: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.csv").write_text("prompt,label\na red square,benign\n", encoding="utf-8")
    (tmp_path / "klein").symlink_to(klein)
    words = (
        "relapse", "klein", "--load", "resolution=16", "--tasks", "world-i2p", "--limit", 2, "--steps", 1,
        "--batch", 1, "--captions", "c.csv",
    )  # fmt: skip
    done = command(*words)
    assert done.returncode == 2 and "--guidance 1" in done.stderr
    assert not (tmp_path / "relapse").exists()
    done = command(*words, "--guidance", 1, "--denoising-steps", 2)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "relapse/klein"
    assert [drawn_with(folder / f"eval/step-00000{i}/world-i2p") for i in (0, 1)] == [(2, 1.0)] * 2
    done = command(*words, "--guidance", 1, "--denoising-steps", 3)
    assert done.returncode == 2 and "other settings (sampler)" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["evaluate", "world", "--steps", "0"], "--steps=0 is not accepted"),
        (["evaluate", "world", "--steps", "10001"], "--steps=10001 is not accepted"),
        (["evaluate", "world", "--steps", "2.5"], "--steps"),
        (["evaluate", "world", "--guidance", "-1"], "--guidance=-1.0 is not accepted"),
        (["evaluate", "world", "--guidance", "nan"], "--guidance=nan is not accepted"),
        (["evaluate", "world", "--guidance", "x"], "--guidance"),
        (["evaluate", "--images", ".", "--steps", "4"], "leave --steps out"),
        (["relapse", "world", "--guidance", "-1"], "--guidance=-1.0 is not accepted"),
        (["relapse", "world", "--denoising-steps", "0"], "--denoising-steps"),
    ],
)
def test_bad_values_exit_with_2_in_one_line(
    command: Command, tmp_path: Path, words: list[str], says: str
) -> None:
    done = command(*words)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_images_that_exist_already_take_no_other_sampler(command: Command, tmp_path: Path) -> None:
    assert command(*JUDGED).returncode == 0
    done = command("evaluate", "results/world", "--guidance", 1, "--steps", 4)
    assert done.returncode == 2 and "leave --steps and --guidance out" in done.stderr
    assert drawn_with(tmp_path / "results/world/world-i2p") == (16, 3.0)
    (tmp_path / "pictures").mkdir()
    Image.radial_gradient("L").save(tmp_path / "pictures/0_0.png")
    done = command("evaluate", "images:pictures", "--tasks", "world-i2p", "--guidance", 1)
    assert done.returncode == 2 and "exist already" in done.stderr
