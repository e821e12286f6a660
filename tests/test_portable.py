"""What other systems lack is not needed to import anything; locks and names hold on all of them."""

from __future__ import annotations

import builtins
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import safediffusion
from safediffusion.cli.evaluate import EvaluateRequest
from safediffusion.errors import UserError
from safediffusion.files.folder_lock import locked
from safediffusion.system.signals import peak_memory_mib
from safediffusion.text.words import as_file_name, file_name

POSIX = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "crypt", "spwd")
NAMES = ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD")
CALLS = ("fork", "getuid", "geteuid", "mkfifo", "sched_getaffinity", "killpg", "setsid", "uname")


def modules() -> list[str]:
    found = pkgutil.walk_packages(safediffusion.__path__, "safediffusion.")
    return [module.name for module in found if not module.name.endswith("__main__")]


@pytest.fixture
def unloaded() -> Iterator[None]:
    """This package not imported yet; afterwards its modules are those of before."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "safediffusion"}
    for name in before:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "safediffusion"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_every_module_is_imported_without_what_only_posix_has(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, asked = builtins.__import__, set[str]()

    def without(name: str, scope: Any = None, *rest: Any) -> Any:
        by = (scope or {}).get("__name__", "")
        if by.split(".")[0] == "safediffusion":
            asked.add(by)
            if name.split(".")[0] in POSIX:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return usual(name, scope, *rest)

    for name in NAMES:
        monkeypatch.delattr(signal, name)
    for name in CALLS:
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(builtins, "__import__", without)
    for name in modules():
        import_module(name)
    assert len(asked) > 50  # the modules were really imported anew


def test_peak_memory_is_known_where_there_are_no_resource_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    assert 10 < peak_memory_mib(device) < 1e6
    about = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=5 * 2**20))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "Process", lambda: about)
    assert peak_memory_mib(device) == 5


HOLD = """
import sys
from pathlib import Path
from safediffusion.files.folder_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    root = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(root)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another process \({other.pid} on .*\) works in"), locked(root):
            raise AssertionError("two processes hold the folder")
    finally:
        other.kill()
        other.wait()
    with locked(root):
        pass


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path):
            raise KeyError


def test_a_folder_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"), locked(tmp_path / "file/run"):
        pass


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("owner/model", "owner-model"),
        ("C:\\models\\a", "C--models-a"),
        ('a:b*c?d"e<f>g|h', "a-b-c-d-e-f-g-h"),
        ("a\nb", "a-b"),
        ("...", "-"),
        ("runs/world/model", "runs-world-model"),
    ],
)
def test_results_have_names_that_every_system_takes(name: str, wanted: str) -> None:
    assert file_name(as_file_name(name)) == wanted


@pytest.mark.parametrize("letter", ["x", "é", "字", "\U0001f600"])
def test_long_names_are_cut_and_stay_apart(letter: str) -> None:
    a, b = (as_file_name(f"{first}/{letter * 400}") for first in "ab")
    assert a != b and all(file_name(name) for name in (a, b))
    assert len(EvaluateRequest().folder("a/" * 500 + "b").name) <= 100
