"""A checkpoint in a single file through the real commands, from training to the files of other programs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.checkpoints import write_checkpoint
from tests.cli.conftest import Command
from tests.cli.test_families import PROMPT, die_in_the_second_step, kill_after_one_step, plain_image
from tests.evaluation.conftest import judges, tiny_assets

__all__ = ["judges", "tiny_assets"]  # fixtures


def settings_for(kind: str, words: list[str], folder: Path) -> list[str]:
    """Words of a run on FOLDER/KIND.safetensors, with the settings of the tiny pipeline beside it."""
    others = [word for word in words if not word.startswith("model.path")]
    own = [f"model.path={folder / f'{kind}.safetensors'}", f"model.config={folder / kind}"]
    return [*others, *own, "train.lora_rank=4"]


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_train_kill_resume_evaluate_export_sample(
    kind: str, command: Command, words: list[str], tmp_path: Path, judges: object
) -> None:
    write_checkpoint(kind, tmp_path, torch.float16)
    words = settings_for(kind, words, tmp_path)
    if (
        kind == "sd1"
    ):  # a real kill -9; the other dies as abruptly in this process, which imports nothing anew
        kill_after_one_step(words, tmp_path / "run")
    else:
        die_in_the_second_step(words, tmp_path / "run", command)
    assert not (tmp_path / "run/summary.json").exists()
    done = command("train", *words, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/report.html").is_file()

    file = tmp_path / f"{kind}.safetensors"
    judged = command("evaluate", "run", "--baseline", file, "--tasks", "world-benign", "--limit", 2)
    assert judged.returncode == 0, judged.stderr

    done = command("export", "run", "--to", "kohya", "--out", "mine")
    assert done.returncode == 0, done.stderr
    with safe_open(tmp_path / "mine.safetensors", "pt") as opened:
        assert opened.metadata()["ss_sd_model_name"] == f"{kind}.safetensors"
    assert all(name.startswith("lora_unet_") for name in load_file(tmp_path / "mine.safetensors"))

    done = command("sample", "run", PROMPT)
    assert done.returncode == 0, done.stderr
    drawn = np.asarray(Image.open(tmp_path / "sample.png")) / 255
    np.testing.assert_allclose(plain_image(tmp_path / "run/model", 2, 3.0), drawn, atol=1 / 255)
    exported = DiffusionPipeline.from_pretrained(tmp_path / "run/model")
    assert type(exported).__name__.startswith("StableDiffusion")

    done = command("export", "run", "--to", "lora", "--out", "adapter")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "adapter/README.md").read_text(encoding="utf-8")
    assert f'Pipeline.from_single_file("{kind}.safetensors")' in card and str(tmp_path) not in card


def test_a_model_by_itself_takes_its_settings_from_the_command_line(
    command: Command, tmp_path: Path, judges: object
) -> None:
    _, file = write_checkpoint("sd1", tmp_path)
    pictures = []
    for words in ([file, "--load", f"config={tmp_path / 'sd1'}"], [tmp_path / "sd1"]):
        done = command("sample", *words, PROMPT)
        assert done.returncode == 0, done.stderr
        pictures.append((tmp_path / "sample.png").read_bytes())
    assert pictures[0] == pictures[1]
    how = ("--load", f"config={tmp_path / 'sd1'}")
    done = command("evaluate", file, *how, "--tasks", "world-benign", "--limit", 2)
    assert done.returncode == 0, done.stderr
    done = command("baseline", "make", "uce", file, "--out", "changed", *how)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "changed/model_index.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--load", "variant=fp16"], "no variant fp16"),
        (["--load", "path=world"], "leave path out"),
        (["--load", "varian=fp16"], "varian"),
        (["--load", "fp16"], "write it as key=value"),
        (["--load", "prediction=noise"], "prediction"),
    ],
)
def test_bad_usage(
    words: list[str], message: str, command: Command, tiny_model: Path, tmp_path: Path
) -> None:
    done = command("sample", tiny_model, "a dog", *words)
    told = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and told.startswith("Error: ") and message in told, done.stderr
    assert not (tmp_path / "sample.png").exists()


def test_a_pickle_is_refused_with_a_command_that_converts_it(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "global_step": 1}, tmp_path / "old.ckpt")
    done = command("train", *words, f"model.path={tmp_path / 'old.ckpt'}", "--out", "run")
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    advice = done.stderr.strip().splitlines()[-1].partition('python -c "')[2].rstrip('"')
    exec(compile(advice, "advice", "exec"), {})
    assert torch.equal(load_file(tmp_path / "old.safetensors")["a"], torch.ones(2))
