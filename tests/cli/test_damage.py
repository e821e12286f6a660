"""Whatever is done to the files of a run, each command ends well or with one line that names the file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Done

Harm = Callable[[Path], object]
HARM: dict[str, Harm] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00\x01"),
    "list": lambda path: path.write_text("[1, 2]", encoding="utf-8"),
    "keyless": lambda path: path.write_text("{}", encoding="utf-8"),
    "nested": lambda path: path.write_text("[" * 20_000, encoding="utf-8"),
}
MADE_AGAIN = ("env.json", "prompts.json", "progress.json", "summary.json", "samples/samples.json")
READ = ("summary.json", "env.json", "progress.json", "config.yaml", "samples/samples.json")


@pytest.fixture
def finished(command: Command, words: list[str], tmp_path: Path) -> Path:
    done = command("train", *words, "--out", "run", "train.steps=2", "train.lora_rank=2")
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def again(words: list[str], name: str) -> list[str]:
    return ["train", *words, "--out", name, "train.steps=2", "train.lora_rank=2"]


def assert_clear(done: Done) -> None:
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr and "-v shows where" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == (done.returncode != 0), done.stderr


def test_commands_on_a_run_with_a_damaged_file_say_which(
    finished: Path, command: Command, tmp_path: Path
) -> None:
    for file in READ:
        for how in HARM if file == "summary.json" else ("cut", "list"):
            case = tmp_path / "case"
            shutil.rmtree(case, ignore_errors=True)
            shutil.copytree(finished, case)
            HARM[how](case / file)
            done = command("report", "case")
            assert_clear(done)
            assert Path(file).name in done.stderr, (file, how, done.stderr)
    for file in ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"):
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(finished, case)
        HARM["cut"](case / "model" / file)
        for words in (("export", "case"), ("sample", "case", "a red square")):
            done = command(*words)
            assert done.returncode == 1 and f"{Path(file).name} is damaged" in done.stderr, done.stderr
            assert_clear(done)
    assert not (tmp_path / "case-diffusers").exists() and not (tmp_path / "sample.png").exists()


def test_the_same_training_command_makes_damaged_files_again_and_says_so(
    finished: Path, command: Command, words: list[str]
) -> None:
    weights = (finished / "model/unet/diffusion_pytorch_model.safetensors").read_bytes()
    for file in MADE_AGAIN[:-1]:
        HARM["cut"](finished / file)
    (finished / "model/unet/diffusion_pytorch_model.safetensors").write_bytes(weights[:-1])
    newest = finished / "checkpoints/step_000002/ema.safetensors"
    done = command(*again(words, "run"))
    assert done.returncode == 0, done.stderr
    log = (finished / "log.txt").read_text(encoding="utf-8")
    for file in ("env.json", "prompts.json", "progress.json", "summary.json"):
        assert f"{file} is damaged" in log, file
        json.loads((finished / file).read_text(encoding="utf-8"))
    assert not newest.exists() or newest.stat().st_size
    assert (finished / "model/unet/diffusion_pytorch_model.safetensors").read_bytes() == weights
    assert "is finished" in command(*again(words, "run")).stderr


@pytest.mark.parametrize(
    "left",
    [
        [".lock"],
        [".lock", ".config.yaml.4194305.tmp"],
        ["env.json"],
        [".env.json.4194305.tmp"],
    ],
)
def test_a_folder_left_in_the_first_moments_is_gone_on_with(
    command: Command, words: list[str], tmp_path: Path, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safediffusion.config import load_config
    from safediffusion.run.session import choose_folder, claimed

    root = tmp_path / "run"
    root.mkdir()
    for name in left:
        (root / name).write_text('{"safediffusion": "0.1"}' if name == "env.json" else "", encoding="utf-8")
    config = load_config("world", [])
    folder = choose_folder(config, root, fresh=False)
    with claimed(folder, config):
        assert sorted(os.listdir(root)) == [".lock", "config.yaml", "env.json", "log.txt"]


@pytest.mark.parametrize("mine", ["notes.txt", "env.json", "log.txt", ".config"])
def test_a_folder_of_others_is_refused_and_left_as_it_is(tmp_path: Path, mine: str) -> None:
    from safediffusion.config import load_config
    from safediffusion.errors import UserError
    from safediffusion.run.session import choose_folder

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / mine).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="does not hold a run"):
        choose_folder(load_config("world", []), tmp_path / "run", fresh=False)
    assert os.listdir(tmp_path / "run") == [mine]


def test_a_run_that_lost_its_settings_is_told_so(tmp_path: Path) -> None:
    from safediffusion.config import load_config
    from safediffusion.errors import Damaged
    from safediffusion.run.session import choose_folder

    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/.lock").touch()
    with pytest.raises(Damaged, match=r"config\.yaml is damaged: it is missing"):
        choose_folder(load_config("world", []), tmp_path / "run", fresh=False)
