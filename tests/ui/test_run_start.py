"""Runs are started as the command line starts them, once, by processes that outlive the page."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from safediffusion.config import dump, load_config
from safediffusion.errors import UserError
from safediffusion.files.atomic import write_json, write_text
from safediffusion.files.folder_lock import LOCK, locked, working
from safediffusion.files.hashes import sealed
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.plan import preview
from safediffusion.ui import run_start
from safediffusion.ui.dry_run import dry_run
from safediffusion.ui.run_start import Asked, Command
from safediffusion.ui.run_state import RunStates
from safediffusion.ui.runs_page import folder_of, planned_run, run_names, start

SETTINGS = "train.steps=2\nevaluate.tasks=[]"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "mine")


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In place of Python a program that only waits, with the same words."""
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "$@"\nread nothing < "$0.pipe"\n', encoding="utf-8")
    script.chmod(0o755)
    os.mkfifo(f"{script}.pipe")
    monkeypatch.setattr(sys, "executable", str(script))
    yield
    for child in run_start.children:
        child.kill()
        child.wait()


def until(condition) -> None:
    while not condition():
        time.sleep(0.01)


def test_a_run_is_started_by_the_command_line_in_a_session_of_its_own(
    folder: RunFolder, waiting: None
) -> None:
    run_start.start(Command(("world", *SETTINGS.split()), "8gb", 2), folder)
    process = run_start.process_of(folder)
    assert process and os.getsid(process.pid) == process.pid != os.getsid(0)
    options = ["--out", str(folder.root), "--preset", "8gb", "--nproc", "2"]
    words = ["-m", "safediffusion", "train", *options, "--", "world", *SETTINGS.split()]
    until(run_start.log_path(folder).read_text)
    assert run_start.log_path(folder).read_text(encoding="utf-8") == " ".join(words) + "\n"
    assert RunStates().read(folder).status == "starting" and not folder.root.exists()
    assert run_start.just_started(folder.root.parent) == [folder]


def test_whoever_starts_the_same_run_a_second_time_is_told_who_works_on_it(
    folder: RunFolder, waiting: None
) -> None:
    run_start.start(Command(("world",)), folder)
    first = run_start.process_of(folder)
    with pytest.raises(UserError, match=r"another process .* works in"):
        run_start.start(Command(("world",)), folder)
    assert run_start.process_of(folder) == first and len(run_start.children) >= 1


def test_a_run_of_a_shell_is_seen_by_its_lock_and_not_started_again(folder: RunFolder, waiting: None) -> None:
    with locked(folder.root), pytest.raises(UserError, match=rf"another process .*{os.getpid()}.* works in"):
        run_start.start(Command(("world",)), folder)
    assert not run_start.note_path(folder).exists()


def test_the_one_whom_the_lock_refuses_reads_why_on_the_page(folder: RunFolder) -> None:
    """Where both begin at the same moment the lock decides, and the second command says so in its log."""
    folder.root.mkdir(parents=True)
    why = f"another process (1 on a) works in {folder.root}; wait for it, or choose another folder"
    write_text(run_start.log_path(folder), f"an older line\nError: {why}\n")
    write_json(
        run_start.note_path(folder), {"words": ["world"], "pid": 2**22 + 1, "began": 0.0, "log_from": 14}
    )
    state = RunStates().read(folder)
    assert (state.status, state.error, state.can_go_on) == ("failed", why, True)


def test_stop_sends_sigterm_once(folder: RunFolder, waiting: None) -> None:
    run_start.start(Command(("world",)), folder)
    child = run_start.children[-1]
    assert run_start.process_of(folder)
    run_start.stop(folder)
    assert child.wait() == -15
    until(lambda: run_start.process_of(folder) is None)
    with pytest.raises(UserError, match="nothing to stop"):
        run_start.stop(folder)


def test_a_second_stop_does_not_end_the_run_at_once(folder: RunFolder, waiting: None, monkeypatch) -> None:
    run_start.start(Command(("world",)), folder)
    monkeypatch.setattr(psutil.Process, "terminate", lambda process: None)  # a round that goes on
    run_start.stop(folder)
    assert RunStates().read(folder).status == "stopping"
    with pytest.raises(UserError, match="asked to stop already"):
        run_start.stop(folder)


def test_a_program_that_is_no_training_command_is_not_stopped(folder: RunFolder) -> None:
    with locked(folder.root), pytest.raises(UserError, match="stop it where it was started"):
        run_start.stop(folder)


def test_who_let_go_of_a_folder_no_longer_works_there(folder: RunFolder) -> None:
    with locked(folder.root):
        process = working(folder.root)
        assert process and process.pid == os.getpid()
    assert working(folder.root) is None
    (folder.root / LOCK).write_text("1 on another-machine", encoding="utf-8")
    assert working(folder.root) is None


@pytest.mark.parametrize(
    "settings",
    [["train.lr=1e-3", "evaluate.tasks=[world-i2p]", "seed=3"], ["prompts.categories=[violence, hate]"], []],
)
def test_a_run_goes_on_with_words_that_make_its_own_settings(settings: list[str], folder: RunFolder) -> None:
    config = load_config("world", settings)
    write_text(folder.config, sealed(dump(config)))
    command = run_start.command_of(folder)
    assert command.words[0] == "world" and len(command.words) == 1 + len(settings)
    assert command.config() == config and command.options == []


def test_a_run_of_a_file_goes_on_with_a_copy_of_its_settings(folder: RunFolder, tmp_path: Path) -> None:
    write_text(tmp_path / "config.yaml", "extends: world\nseed: 4\n")
    config = load_config(str(tmp_path / "config.yaml"))
    write_text(folder.config, sealed(dump(config)))
    command = run_start.command_of(folder)
    assert len(command.words) == 1 and command.config() == config
    assert run_names(folder.root.parent) == ["mine"]  # the copy is no run


def test_a_run_goes_on_with_its_preset_and_as_many_processes_as_it_was_started_with(
    folder: RunFolder, waiting: None
) -> None:
    command = Command(("world", "seed=3"), "8gb", 2)
    run_start.start(command, folder)
    assert run_start.command_of(folder) == command
    write_text(folder.config, sealed(dump(command.config())))
    assert run_start.command_of(folder) == command
    write_text(folder.config, sealed(dump(load_config("world", ["seed=4"]))))  # another run since
    assert run_start.command_of(folder) == Command(("world", "seed=4"), nproc=2)


def test_a_dry_run_plans_with_preset_and_processes_and_says_the_command(tmp_path: Path) -> None:
    found = dry_run(Asked("world", SETTINGS, "mine", "8gb", 2), tmp_path)
    plan = preview(load_config("world", SETTINGS.split(), "8gb"), 2, SETTINGS.split())
    assert found.plan == str(plan) and "micro_batch: 1\n" in found.settings
    assert "--preset 8gb --nproc 2 --out" in found.command
    alone = dry_run(Asked("world", SETTINGS, "mine", "none", None), tmp_path)
    assert alone.plan != found.plan and "--preset" not in alone.command and "--nproc" not in alone.command


def test_only_what_had_a_dry_run_is_started(tmp_path: Path, waiting: None) -> None:
    asked = Asked("world", SETTINGS, "mine")
    html, button, plan = planned_run(tmp_path, asked)
    assert button["interactive"] and "optimizer steps in all 8" in html and "train.steps=2" in html
    others = [Asked("world", "train.steps=3", "mine"), Asked("world", SETTINGS, "other")]
    for other in (*others, replace(asked, preset="8gb"), replace(asked, nproc=2)):
        with pytest.raises(UserError, match="no dry run"):
            start(tmp_path, plan, other)
    with pytest.raises(UserError, match="no dry run"):
        start(tmp_path, None, asked)
    assert list(tmp_path.glob("mine*")) == [] and run_start.just_started(tmp_path) == []
    chosen, button, *_ = start(tmp_path, plan, asked)
    assert chosen["value"] == "mine" and not button["interactive"]
    assert run_start.just_started(tmp_path) == [RunFolder(tmp_path / "mine")]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked("world", "--fresh", "a"), "is no setting"),
        (Asked("world", "--out=x", "a"), "is not a setting"),
        (Asked("train.steps=1", "", "a"), "the recipe is"),
        (Asked("wrld", "", "a"), "did you mean"),
        (Asked("world", "train.stps=1", "a"), "did you mean"),
        (Asked("world", "", "../a"), "slashes"),
        (Asked("world", "", ".started"), "point"),
        (Asked("world", "", ""), "empty"),
        (Asked("world", "", "taken"), "not empty"),
        (Asked("world", "", "a", "9gb"), "there is no preset '9gb'"),
        (Asked("world", "", "a", nproc=0), "1 to 1024 processes, not 0"),
        (Asked("world", "", "a", nproc=5000), "1 to 1024 processes, not 5000"),
    ],
)
def test_what_cannot_be_started_is_said_by_the_dry_run(asked: Asked, why: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    with pytest.raises(UserError, match=why):
        dry_run(asked, tmp_path)


def test_a_chosen_run_lies_in_the_folder_of_runs(tmp_path: Path) -> None:
    for name in ("/etc", "../else", "", None):
        with pytest.raises(UserError):
            folder_of(tmp_path, name)
