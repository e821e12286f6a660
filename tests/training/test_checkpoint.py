"""Damage in a checkpoint is found before it is used: the newest whole one is taken, and that is said."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from safediffusion.errors import Damaged, RunError
from safediffusion.files.checked import write_checked
from safediffusion.training import checkpoint
from safediffusion.training.checkpoint import check, keep_best, keep_healthy, mend_copies, newest_whole, save
from tests.training.test_trainer import assert_same_bits, state

PARTS = ("weights", "optimizer", "random")


def write(root: Path, *steps: int, healthy: bool = True) -> None:
    for step in steps:
        tensors = {
            name: {"a": torch.tensor([step, torch.nan])} for name in ("weights", "optimizer", "random")
        }
        keep_best(root, save(root, step, tensors, {"healthy": healthy, "score": -abs(step - 2)}, keep=3))


def flip(path: Path, byte: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


HARM = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"]
)
@pytest.mark.parametrize("how", HARM)
def test_the_newest_whole_checkpoint_is_taken_and_said(tmp_path: Path, caplog, file: str, how: str) -> None:
    write(tmp_path, 1, 2, 3)
    assert newest_whole(tmp_path) == tmp_path / "step_000003" and not caplog.text  # NaN is not damage
    HARM[how](tmp_path / "step_000003" / file)
    assert newest_whole(tmp_path) == tmp_path / "step_000002"
    assert f"step_000003/{file} is damaged" in caplog.text and "going on from step_000002" in caplog.text
    assert checkpoint.saved(tmp_path)[-1].name == "step_000002"  # the damaged one is aside


def test_every_bit_of_the_state_counts(tmp_path: Path) -> None:
    write(tmp_path, 1)
    path = tmp_path / "step_000001/state.json"
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace('"score": -1', '"score": -2'), encoding="utf-8")
    with pytest.raises(Damaged, match=r"state\.json"):
        check(path.parent)


def test_without_a_whole_checkpoint_the_error_says_which_file_and_what_to_do(tmp_path: Path) -> None:
    assert newest_whole(tmp_path) is None
    write(tmp_path, 1, 3)
    for path in tmp_path.glob("*/weights.safetensors"):
        flip(path)
    with pytest.raises(RunError, match=r"step_000003/weights.safetensors: .*remove that folder"):
        newest_whole(tmp_path)


def test_the_best_checkpoint_is_whole_enough_to_go_on_from(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    for path in tmp_path.glob("step_*/weights.safetensors"):
        flip(path)
    assert newest_whole(tmp_path) == tmp_path / "best"


@pytest.mark.parametrize("file", ["weights.safetensors", "state.json"])
def test_a_damaged_copy_is_made_again_or_named(tmp_path: Path, caplog, file: str) -> None:
    write(tmp_path, 1, 2, 3)
    flip(tmp_path / "best" / file)
    mend_copies(tmp_path)
    assert checkpoint.read_state(tmp_path / "best")["step"] == 2
    assert f"best/{file} is damaged" in caplog.text and "step_000002 again" in caplog.text
    flip(tmp_path / "best" / file)
    shutil.rmtree(tmp_path / "step_000002")
    with pytest.raises(Damaged, match=rf"best/{file} is damaged.*remove .*best to go on without it"):
        mend_copies(tmp_path)


def test_a_damaged_checkpoint_does_not_become_the_healthy_one_nor_end_a_run(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 3, healthy=False)
    flip(tmp_path / "step_000002/optimizer.safetensors")
    assert keep_healthy(tmp_path) == tmp_path / "healthy"
    assert checkpoint.read_state(tmp_path / "healthy")["step"] == 1
    (tmp_path / "step_000002/state.json").write_text("{", encoding="utf-8")
    write(tmp_path, 4)


def test_a_checkpoint_of_an_earlier_version_still_loads_unchecked(make_trainer, caplog) -> None:
    first = make_trainer()
    first.run()
    for path in first.folder.checkpoints.glob("*/state.json"):
        old = {
            k: v
            for k, v in json.loads(path.read_text(encoding="utf-8")).items()
            if k not in ("files", "checksum")
        }
        path.write_text(json.dumps(old), encoding="utf-8")
    second = make_trainer()
    second.resume()
    assert_same_bits(state(first), state(second))
    assert "written without hashes" in caplog.text
    newest = checkpoint.latest(first.folder.checkpoints)
    assert newest is not None
    (newest / "optimizer.safetensors").unlink()
    with pytest.raises(Damaged, match="a part is missing or wrong"):
        make_trainer().resume()


def test_a_run_whose_newest_checkpoint_is_damaged_ends_bit_for_bit_alike(make_trainer) -> None:
    changes = {"train__steps": 3, "train__ema": 0.5}
    straight = make_trainer("straight", **changes)
    straight.run()
    first = make_trainer("damaged", **changes)
    first.run()
    flip(first.folder.checkpoints / "step_000003/ema.safetensors")
    second = make_trainer("damaged", **changes)
    second.run()
    assert_same_bits(state(straight), state(second))
    assert "resumed after round 2" in second.folder.log.read_text(encoding="utf-8")


def test_a_resumable_state_lacks_nothing(make_trainer) -> None:
    first = make_trainer()
    first.run()
    for path in first.folder.checkpoints.glob("*/state.json"):
        content = checkpoint.read_state(path.parent)
        del content["spreads"]
        write_checked(path, content)
    with pytest.raises(RunError, match="damaged"):
        make_trainer().resume()
