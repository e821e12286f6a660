"""A run in a process of its own, held between two rounds until a signal comes: on no machine too late."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

FOLDER, ROUNDS = "TEST_HOLD_FOLDER", "TEST_HOLD_ROUNDS"
MARK = "held"  # beside the run folder
LIMIT = 1200  # seconds; it only ends a hang


@contextmanager
def held_run(
    words: Sequence[object], folder: Path, rounds: int, env: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """`safediffusion train WORDS --out FOLDER` whose reward waits once `rounds` rounds are finished.

    The reward has to be tests.cli.rewards:brightness. The run is killed at the end of the block.
    """
    command = [sys.executable, "-m", "safediffusion", "train", *map(str, words), "--out", folder.name]
    mark = folder.parent / MARK
    mark.unlink(missing_ok=True)
    env = env | {FOLDER: str(folder), ROUNDS: str(rounds)}
    process = subprocess.Popen(command, cwd=folder.parent, env=env, stderr=subprocess.PIPE, text=True)
    try:
        while not mark.exists():
            if process.poll() is not None:
                raise AssertionError(f"the run ended before it was held: {process.communicate()[1]}")
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


def hold() -> None:
    """Called by the reward inside the run: waits for Ctrl-C or SIGTERM where the run is to be held.

    Of several processes the first one waits, and the others for it: the signal cannot come before the hold.
    """
    folder = os.environ.get(FOLDER) if os.environ.get("RANK", "0") == "0" else None
    metrics = Path(folder or "", "metrics.jsonl")
    if not folder or not metrics.exists():
        return
    if metrics.read_text(encoding="utf-8").count("\n") < int(os.environ[ROUNDS]):
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        handler = before[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    for number in before:
        signal.signal(number, note)
    Path(folder).with_name(MARK).touch()
    parent = os.getppid()
    while not came and os.getppid() == parent:  # a test that failed leaves nobody waiting
        time.sleep(0.01)
    for number, handler in before.items():
        signal.signal(number, handler)
