"""Every family through the real commands: train, kill, resume, export, reload by plain diffusers, sample."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from safediffusion.config import dump, load_config
from safediffusion.diffusion import noise
from safediffusion.diffusion.load import as_diffuser
from tests.cli import rewards
from tests.cli.conftest import Command, environment
from tests.held import held_run
from tests.pipelines import FAMILIES, FAMILIES_AND_RANKS, RESOLUTION, plain_images

KILLED = "flux"  # by a signal, which takes a process of its own; the others die in this one
SETTINGS = {
    "sd-v": ["rollout.eta=1.0"],
    "sdxl": ["rollout.eta=1.0"],
    "sd3": ["rollout.eta=0.7"],
    "flux": ["rollout.eta=0.7", "rollout.sde=flow-grpo", f"model.resolution={RESOLUTION}"],
    "chroma": ["rollout.eta=0.7", f"model.resolution={RESOLUTION}"],
    "z-image": ["rollout.eta=0.7", f"model.resolution={RESOLUTION}"],
    "flux2": ["rollout.eta=0.7", f"model.resolution={RESOLUTION}"],
    "sana": ["rollout.eta=0.7", "rollout.solver=dpm++"],
}
PROMPT = "a red square"


class Killed(BaseException):
    """Ends a run in this process as abruptly as a signal would."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("families")
    for name in SETTINGS:
        FAMILIES[name]().save_pretrained(root / name)
    return root


def written(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted(run.glob("checkpoints/step_000003/*.safetensors"))
    return {f"{file.stem}/{k}": v for file in files for k, v in load_file(file).items()}


def kill_after_one_step(words: list[Any], folder: Path) -> None:
    with held_run(words, folder, 1, environment()) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (folder / "checkpoints/step_000001/state.json").exists()


def die_in_the_second_step(words: list[Any], folder: Path, command: Command) -> None:
    calls = []

    def dying(images: torch.Tensor, prompts: Any) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 2:
            raise Killed
        return BRIGHTNESS(images, prompts)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(rewards, "brightness", dying)
        command("train", *words, "--out", folder.name)


BRIGHTNESS = rewards.brightness


def plain_image(folder: Path, steps: int, guidance: float, adapter: Path | None = None) -> np.ndarray:
    """What plain diffusers draws with an exported folder, from the noise that `sample` takes for seed 0."""
    pipeline: Any = DiffusionPipeline.from_pretrained(folder)
    if adapter:
        pipeline.load_lora_weights(adapter.parent, weight_name=adapter.name)
    shape = as_diffuser(pipeline, resolution=RESOLUTION).latent_shape
    z = noise.normal([(noise.SAMPLE, 0)], (1, *shape))[:, 0]
    return plain_images(pipeline, z, steps, guidance, PROMPT)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("family", "rank"), [case for case in FAMILIES_AND_RANKS if case[0] in SETTINGS])
def test_train_kill_resume_export_reload_sample(
    command: Command, words: list[str], models: Path, tmp_path: Path, family: str, rank: int
) -> None:
    words = [w for w in words if not w.startswith("model.path")]
    words += [f"model.path={models / family}", f"train.lora_rank={rank}", *SETTINGS[family]]
    words += ["train.algorithm=grpo" if rank else "train.algorithm=nft", "train.kl=0.01"]
    done = command("train", *words, "--out", "whole")
    assert done.returncode == 0, done.stderr
    if rank and family == KILLED:
        kill_after_one_step(words, tmp_path / "cut")
    else:
        die_in_the_second_step(words, tmp_path / "cut", command)
    assert not (tmp_path / "cut/summary.json").exists()
    assert command("train", *words, "--out", "cut").returncode == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys() and all(torch.equal(whole[k], cut[k]) for k in whole)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "cut/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps == [1, 2, 3]
    assert written(tmp_path / "cut/model") == written(tmp_path / "whole/model")

    assert command("export", "cut", "--to", "diffusers", "--out", "plain").returncode == 0
    card = (tmp_path / "plain/README.md").read_text(encoding="utf-8")
    assert f"{family} made safer" in card and "licence" in card and "12 images" in card
    assert str(models) not in card and str(tmp_path) not in card
    assert command("sample", "cut", PROMPT).returncode == 0
    drawn = np.asarray(Image.open(tmp_path / "sample.png")) / 255
    np.testing.assert_allclose(plain_image(tmp_path / "plain", 2, 3.0), drawn, atol=1 / 255)
    lora = command("export", "cut", "--to", "lora")
    assert lora.returncode == (0 if rank else 2)
    if rank:
        base: Any = DiffusionPipeline.from_pretrained(models / family)
        base.load_lora_weights(tmp_path / "cut-lora")
        assert base.get_active_adapters()
        check_kohya(command, models / family, tmp_path, drawn)


OTHER_NAMES = ("chroma", "z-image", "flux2", "sana")  # no kohya file is written for them


def check_kohya(command: Command, base: Path, folder: Path, drawn: np.ndarray) -> None:
    done = command("export", "cut", "--to", "kohya", "--out", "mine")
    if base.name in OTHER_NAMES:
        assert done.returncode == 2 and "--to kohya is not written for" in done.stderr
        assert not (folder / "mine.safetensors").exists()
        return
    assert done.returncode == 0, done.stderr
    file = folder / "mine.safetensors"
    tensors = load_file(file)
    assert all(name.startswith("lora_unet_") and t.dtype == torch.float32 for name, t in tensors.items())
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["ss_network_dim"] == "4" and opened.metadata()["ss_output_name"] == "mine"
    if base.name in ("sd3", "flux"):  # diffusers reads FLUX's only at its true width, and SD3's not at all
        return
    np.testing.assert_allclose(plain_image(base, 2, 3.0, file), drawn, atol=1 / 255)


def test_settings_that_do_not_fit_are_refused(command: Command, words: list[str], models: Path) -> None:
    bf16 = command("train", *words, "model.storage=bf16")
    assert bf16.returncode == 2 and "train.lora_rank" in bf16.stderr
    odd = command("train", *words, "model.resolution=17")
    assert odd.returncode == 2 and "model.resolution is 17" in odd.stderr
    mixed = command("train", *words, "train.lora_rank=4", "model.storage=fp16", "model.dtype=bf16")
    assert mixed.returncode == 2 and "a network in fp16" in mixed.stderr


def test_an_optimizer_that_cannot_be_had_is_refused_before_anything_is_written(
    command: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safediffusion.training.optimizer.find_spec", lambda name: None)
    done = command("train", *words, "train.optimizer=adamw8bit", "--out", "run")
    assert done.returncode == 2 and "pip install bitsandbytes" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_another_optimizer(
    command: Command, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    config = load_config(None, words)
    (tmp_path / "run/config.yaml").write_text(dump(config), encoding="utf-8")
    done = command("train", *words, "train.optimizer=adamw8bit", "--out", "run")
    assert done.returncode == 2 and "other settings (train.optimizer)" in done.stderr
