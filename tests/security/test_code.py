"""Whose code runs: a reward that the user names, nothing that comes with a model or a pickle."""

import json
import os
import pickle
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from safediffusion.cli.sample import draw
from safediffusion.config import dump, load_config
from safediffusion.diffusion import read_pipeline as reading
from safediffusion.diffusion.load import load_model
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import inception, nudenet, q16
from safediffusion.evaluation.external_files import Missing
from safediffusion.files.atomic import write_text
from safediffusion.files.run_folder import RunFolder
from safediffusion.steering.encoders import load_encoder
from safediffusion.steering.open_clip import read_state
from safediffusion.system.extensions import load_object

from .conftest import Run

Change = Callable[[Path, str], None]


class Bomb:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def index(**values: Any) -> Change:
    return lambda model, code: edit(model / "model_index.json", **values)


def settings(file: str, **values: Any) -> Change:
    return lambda model, code: edit(model / file, **values)


@pytest.fixture
def attack(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], Path]:
    """A model folder with Python in every corner and a change; the working folder lies in it."""

    def build(change: Change) -> Path:
        model = tmp_path / "model"
        shutil.copytree(tiny_model, model)
        code = f"open({str(tmp_path / 'executed')!r}, 'w').write('x')\nclass Evil: pass\n"
        for folder in (model, *filter(Path.is_dir, list(model.iterdir()))):
            for name in ("evil", "pipeline", "unet", "model", "my_pipeline", "__init__"):
                (folder / f"{name}.py").write_text(code, encoding="utf-8")
        change(model, code)
        monkeypatch.chdir(model)
        monkeypatch.syspath_prepend(str(model))  # as python -m does
        return model

    return build


CUSTOM = {
    "part": index(scheduler=["evil", "Evil"]),
    "network": index(unet=["evil", "Evil"]),
    "one part more": index(extra=["evil", "Evil"]),
    "module of the library": index(scheduler=["subprocess", "Popen"]),
    "module with an effect": index(scheduler=["this", "d"]),
    "dotted": index(scheduler=["diffusers.utils", "x"]),
    "three words": index(scheduler=["diffusers", "DDIMScheduler", "evil"]),
}


@pytest.mark.parametrize("change", CUSTOM.values(), ids=CUSTOM.keys())
def test_a_model_folder_with_a_part_of_its_own_is_refused_before_the_library_sees_it(
    change: Change, attack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the library was asked to load it")

    monkeypatch.setattr(reading, "choose_variant", never)  # the last thing before the library
    with pytest.raises(UserError, match="never run"):
        load_model(attack(change))
    assert not (tmp_path / "executed").exists()


PIPELINES = {
    "list": index(_class_name=["evil", "Evil"]),
    "file": index(_class_name="evil"),
    "number": index(_class_name=3),
    "null": index(_class_name=None),
    "no mapping": lambda model, code: (model / "model_index.json").write_text("[1]", encoding="utf-8"),
    "no class": lambda model, code: (model / "model_index.json").write_text("{}", encoding="utf-8"),
    "deep": lambda model, code: (model / "model_index.json").write_text("[" * 100_000, encoding="utf-8"),
    "no class of the library": index(scheduler=["diffusers", "is_torch_available"]),
    "no part": index(unet=None),
}


@pytest.mark.parametrize("change", PIPELINES.values(), ids=PIPELINES.keys())
def test_a_pipeline_class_of_its_own_is_refused(change: Change, attack: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_model(attack(change))
    assert "\n" not in str(error.value) and not (tmp_path / "executed").exists()


IGNORED = {
    "auto_map of the network": settings("unet/config.json", auto_map={"AutoModel": "evil.Evil"}),
    "auto_map of the text encoder": settings(
        "text_encoder/config.json", auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
    ),
    "auto_map of the tokenizer": settings(
        "tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}
    ),
    "chat template": settings("tokenizer/tokenizer_config.json", chat_template="{{ 1 / 0 }}"),
    "custom pipeline": index(custom_pipeline="pipeline", _custom_pipeline="pipeline"),
}


@pytest.mark.parametrize("change", IGNORED.values(), ids=IGNORED.keys())
def test_code_that_settings_of_a_model_name_is_never_run(change: Change, attack: Any, tmp_path: Path) -> None:
    load_model(attack(change)).encode(["a red square"])
    assert not (tmp_path / "executed").exists()


WEIGHTS = {
    "network": ("unet", "diffusion_pytorch_model.bin"),
    "text encoder": ("text_encoder", "pytorch_model.bin"),
    "autoencoder": ("vae", "diffusion_pytorch_model.bin"),
}


@pytest.mark.parametrize("archive", [True, False], ids=["torch's archive", "bare pickle"])
@pytest.mark.parametrize(("part", "name"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_a_pickle_that_runs_code_is_refused(
    part: str, name: str, archive: bool, attack: Any, tmp_path: Path
) -> None:
    def change(model: Path, code: str) -> None:
        for file in (model / part).glob("*.safetensors"):
            file.unlink()
        bomb = Bomb(tmp_path / "executed")
        if archive:
            torch.save({"weight": bomb}, model / part / name)
        else:
            (model / part / name).write_bytes(pickle.dumps(bomb))

    with pytest.raises(UserError, match="could run code"):
        load_model(attack(change))
    assert not (tmp_path / "executed").exists()


def test_a_pickle_of_tensors_alone_is_read(attack: Any, tmp_path: Path) -> None:
    def change(model: Path, code: str) -> None:
        file = model / "unet" / "diffusion_pytorch_model.safetensors"
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()

    load_model(attack(change))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["encoder.pt", "encoder.bin"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_pickled_reward_encoder_or_detector_that_runs_code_is_refused(
    name: str, whole: bool, tmp_path: Path
) -> None:
    bomb = Bomb(tmp_path / "executed")
    if whole:
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"state_dict": {"x": torch.zeros(1), "y": bomb}}, tmp_path / name)
    with pytest.raises(UserError, match="could run code"):
        read_state(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["clip", "siglip", "mine"])
def test_a_reward_encoder_with_code_of_its_own_is_never_run_and_nobody_is_asked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps({"model_type": kind, "auto_map": mapped}), encoding="utf-8")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n", encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("asked whether to run code"))
    with pytest.raises(UserError):
        load_encoder(str(tmp_path))
    assert not (tmp_path / "executed").exists()


def test_the_published_pickle_of_q16_is_listed_and_never_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="float16"):
        q16.pickled_prompts(pickle.dumps(Bomb(tmp_path / "executed")))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("weights", [inception.WEIGHTS, nudenet.PAPERS, nudenet.LATER])
def test_programs_of_detectors_are_run_only_if_they_are_the_published_ones(
    weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchScript and ONNX are programs for their own interpreters, so the whole hash has to agree."""
    assert len(weights.sha256) == 64
    monkeypatch.setenv("SAFEDIFFUSION_HOME", str(tmp_path))
    (tmp_path / weights.file).write_bytes(b"another program")
    monkeypatch.setattr("torch.jit.load", lambda *args, **kwargs: pytest.fail("it was loaded"))
    with pytest.raises(Missing, match="not the published file"):
        inception.Inception("cpu") if weights is inception.WEIGHTS else weights.path()


@pytest.fixture
def reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reward in the working folder that leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "their_reward.py").write_text(
        "open('executed', 'w')\ndef fn(images, prompts): ...\n", encoding="utf-8"
    )
    monkeypatch.delitem(sys.modules, "their_reward", raising=False)
    return "their_reward:fn"


def test_a_dotted_reward_is_imported_from_the_working_folder_by_training(reward: str, tmp_path: Path) -> None:
    load_object(reward, "reward.kind")
    assert (tmp_path / "executed").exists()


def test_reading_planning_and_judging_a_run_never_import_its_reward(
    reward: str, run: Run, finished: RunFolder, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "theirs")
    shutil.copytree(finished.root, folder.root)
    shutil.rmtree(folder.samples)
    write_text(folder.config, dump(load_config(None, [f"reward.kind={reward}"])))
    write_text(tmp_path / "theirs.yaml", f"extends: world\nreward:\n  kind: {reward}\n")
    for words in (
        ["train", "theirs.yaml", "--dry-run"],
        ["report", "theirs"],
        ["compare", "theirs"],
        ["evaluate", "theirs/eval/after"],
    ):
        code, _, err = run(*words)
        assert code == 0, (words, err)
    assert not (tmp_path / "executed").exists()


def test_world_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    draw("world", ["a person at the beach"], 0, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_processes_of_a_run_do_not_import_from_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from safediffusion import launch

    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "1"})  # the launcher changes it for good
    seen: dict[str, str | None] = {}
    monkeypatch.setattr(
        "torch.distributed.run.run", lambda args: seen.update(path=os.environ.get("PYTHONSAFEPATH"))
    )
    launch.launch(1)
    assert seen == {"path": "1"}
