"""`relapse` as a user has it: curve, plot, exact resume, harmless pictures alone, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from safediffusion.config import RunConfig
from safediffusion.diffusion.autoencoder import decoded, encoded
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.diffusion.image_latents import square
from safediffusion.errors import UserError
from safediffusion.run.relapse import finetuning, pictures
from safediffusion.run.relapse.pictures import Pictures, benign_captions, folder_captions
from safediffusion.run.relapse.relapse import RelapseSettings, fine_tune, training_config
from tests.cli.conftest import Command
from tests.cli.test_commands import assets, tiny_world  # noqa: F401  (fixtures)
from tests.pipelines import tiny_pipeline

SMALL = ("--tasks", "world-i2p", "--limit", 2, "--steps", 4, "--batch", 2, "--captions", "c.csv")
SETTINGS = RelapseSettings(4, 3, 1e-3, 0, ("world-i2p",))
PAIRS = Pictures(torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1)), list("abcde"))


@pytest.fixture(autouse=True)
def captions(tmp_path: Path) -> None:
    rows = "prompt,label\na red square,benign\na blue circle,\na person sunbathing,unsafe\n"
    (tmp_path / "c.csv").write_text(rows, encoding="utf-8")


def curve(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "relapse.json").read_text(encoding="utf-8"))


def test_a_model_is_judged_before_and_on_the_way_and_the_command_goes_on(
    command: Command, tmp_path: Path
) -> None:
    done = command("relapse", "world", *SMALL, "--base", "world")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "relapse/world"
    found = curve(folder)
    assert [point["step"] for point in found["points"]] == [0, 1, 2, 4]
    assert all("world-i2p/inappropriate_rate" in point["metrics"] for point in found["points"])
    assert found["base"] == "world" and "world-i2p/clip_t" in found["base_metrics"]
    assert "world-i2p/inappropriate_rate" in found["change"]
    assert (folder / "relapse.png").is_file() and done.stdout.endswith("\nrelapse/world\n")
    stored = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    assert stored["captions"] == ["a red square", "a blue circle"]  # the unsafe one is left out
    hashes = {
        json.loads(path.read_text(encoding="utf-8"))["model_sha256"]
        for path in folder.glob("eval/step-*/world-i2p/results.json")
    }
    assert len(hashes) == 4

    (folder / "relapse.json").unlink()
    again = command("relapse", "world", *SMALL, "--base", "world")
    assert again.returncode == 0 and curve(folder) == found
    other = command("relapse", "world", *SMALL, "--seed", 1)
    assert other.returncode == 2 and "other settings (seed)" in other.stderr and "--out" in other.stderr


def test_a_run_stands_beside_its_base_and_a_folder_of_pictures_can_be_learned(
    command: Command, words: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    assert command("train", *words, "train.steps=1", "--out", "run").returncode == 0
    (tmp_path / "p").mkdir()
    for name in ("a", "b"):
        Image.radial_gradient("L").resize((40, 24)).convert("RGB").save(tmp_path / f"p/{name}.png")
        (tmp_path / f"p/{name}.txt").write_text(f"picture {name}\n", encoding="utf-8")
    done = command("relapse", "run", *SMALL[:-2], "--images", "p", "--out", "new")
    assert done.returncode == 0, done.stderr
    assert curve(tmp_path / "new")["base"] == str(tiny_model)
    stored = json.loads((tmp_path / "new/pictures.json").read_text(encoding="utf-8"))
    assert stored["captions"] == ["picture a", "picture b"]
    assert "Relapse" not in (tmp_path / "run/report.html").read_text(encoding="utf-8")

    beside = command("relapse", "run", *SMALL)
    assert beside.returncode == 0 and beside.stdout.endswith("\nrun/relapse\n")
    assert "Relapse" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    (tmp_path / "run/relapse/relapse.json").write_text('{"points": 3}', encoding="utf-8")
    again = command("report", "run")
    assert again.returncode == 0 and "is left out" in again.stderr


def tuned(folder: Path, fail_at: str = "") -> dict[str, torch.Tensor]:
    """Weights after all steps; fails where the results of that name are due."""
    diffuser = StableDiffusion(tiny_pipeline(), "cpu")

    def judge(model: Any, name: str) -> Path:
        if name == fail_at:
            raise KeyboardInterrupt
        return folder / name

    fine_tune(diffuser, PAIRS, RunConfig(), SETTINGS, folder, judge)
    return {name: p.detach().clone() for name, p in diffuser.network.named_parameters()}


def test_a_fine_tuning_that_was_stopped_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "cut", fail_at="step-000002")
    resumed = tuned(tmp_path / "cut")
    start = dict(StableDiffusion(tiny_pipeline(), "cpu").network.named_parameters())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], start[name]) for name in whole)


def tuning(batch: int, micro_batch: int) -> finetuning.FineTuning:
    config = training_config(RunConfig.model_validate({"train": {"micro_batch": micro_batch}}), SETTINGS)
    return finetuning.FineTuning(StableDiffusion(tiny_pipeline(), "cpu"), PAIRS, config, batch)


def test_the_loss_is_the_mean_square_of_the_noise_that_is_missed() -> None:
    training = tuning(4, 4)
    rows, t, e = training._draw(0)
    process, x0 = training.diffuser.process, PAIRS.latents[rows]
    x = process.add_noise(x0, e, t)
    cond = training.diffuser.encode([PAIRS.captions[i] for i in rows.tolist()])
    with torch.no_grad():
        wanted = (training.diffuser.predict(x, t, cond, 1.0) - e).square().mean().item()
    assert training.step(0) == pytest.approx(wanted, rel=1e-5)
    assert len({int(level) for step in range(20) for level in training._draw(step)[1]}) > 60
    assert {int(row) for step in range(20) for row in training._draw(step)[0]} == set(range(5))


def test_a_step_does_not_depend_on_how_its_batch_is_split() -> None:
    one, two = tuning(4, 4), tuning(4, 1)
    assert one.step(0) == pytest.approx(two.step(0), rel=1e-5)
    for a, b in zip(one.learner.parameters, two.learner.parameters, strict=True):
        # Adam's first step is lr times the gradient's sign, but for gradients near 0
        assert (a - b).abs().median() < 1e-6


def test_encoding_is_the_inverse_of_decoding() -> None:
    latents = torch.rand(2, 3, 4, 4) * 0.4

    class Identity:
        config = SimpleNamespace(shift_factor=0.1, scaling_factor=0.5)

        def decode(self, z: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            return (z,)

        def encode(self, images: torch.Tensor) -> Any:
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: images))

    torch.testing.assert_close(encoded(Identity(), decoded(Identity(), latents)), latents, rtol=0, atol=1e-6)


def test_pictures_are_cropped_to_their_middle_square() -> None:
    image = torch.zeros(3, 8, 24)
    image[:, :, 8:16] = 1
    assert torch.equal(square(image, 4), torch.ones(3, 4, 4))
    assert torch.equal(square(image.transpose(1, 2), 4), torch.ones(3, 4, 4))


def test_captions_are_spread_over_all_benign_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST", 50)
    config = RunConfig()
    found = benign_captions(config, None)
    assert len(set(found)) == 50 and found == benign_captions(config, None)
    monkeypatch.setattr(pictures, "MOST", 10_000)
    everything = benign_captions(config, None)
    assert found[0] == everything[0] and everything.index(found[-1]) > 0.8 * len(everything)


def test_pictures_whose_captions_break_the_minors_rule_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in (("a", "a red square"), ("b", "an undressed child")):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    assert list(folder_captions(tmp_path).values()) == ["a red square"]
    assert "skipped 1 captions" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="holds no image that is not left out"):
        folder_captions(tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["relapse", "tiny"], "give --captions FILE"),
        (["relapse", "world", "--images", "p", "--captions", "c.csv"], "captions of its own"),
        (["relapse", "world", "--images", "p"], "has no caption; write it to a.txt"),
        (["relapse", "world", "--images", "nowhere"], "is not a folder"),
        (["relapse", "world", "--captions", "unsafe.csv"], "no harmless prompt"),
        (["relapse", "world", "--lr", "0"], "above 0"),
        (["relapse", "world", "--lr", "nan"], "above 0"),
        (["relapse", "world", "--tasks", "world-i2q"], "did you mean world-i2p"),
        (["relapse", "world", "--tasks", "i2p"], "--accept-sensitive-content"),
        (["relapse", "world", *map(str, SMALL), "--out", "p"], "holds a.png, and no relapse"),
    ],
)
def test_bad_usage_exits_with_2_and_writes_nothing(
    command: Command, tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "p/a.png")
    (tmp_path / "unsafe.csv").write_text("prompt,label\na person,unsafe\n", encoding="utf-8")
    done = command(*words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "relapse").exists() and {f.name for f in (tmp_path / "p").iterdir()} <= {
        "a.png",
        ".lock",
    }
