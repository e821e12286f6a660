"""Pairs of runs of this package and of a peer: environments, clients, seconds in turn, ratios."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from training_runs import Estimate

CLIENT = Path(__file__).with_name("peers_client.py")
Side = Callable[[], float]  # does the work once and returns its seconds


class Absent(Exception):
    """A peer that cannot be measured here; the message is the reason."""


@dataclass(frozen=True)
class Subject:
    """What both sides do.

    Attributes:
        what: the work, for example "sampling, 10 steps, batch 8".
        peer: who does the same, with its version.
        images: of one run.
        agreement: how far the results of both are the same.
    """

    what: str
    peer: str
    images: int
    agreement: str


def interleaved(ours: Side, theirs: Side, pairs: int) -> list[tuple[float, float]]:
    """Seconds of (ours, theirs), one run after the other; a first pair warms up and is not counted.

    The side that goes first alternates, so that drift of the machine favours neither.
    """
    rows = []
    for i in range(pairs + 1):
        if i % 2:
            own = ours()
            other = theirs()
        else:
            other = theirs()
            own = ours()
        rows.append((own, other))
    return rows[1:]


def compare(subject: Subject, ours: Side, theirs: Side, pairs: int) -> dict[str, Any]:
    """A row of the table: images per second of both, and the peer's seconds divided by ours, pair by pair."""
    rows = interleaved(ours, theirs, pairs)
    speeds = {
        f"{name}_per_s": asdict(Estimate.of([subject.images / row[i] for row in rows]))
        for i, name in enumerate(("ours", "theirs"))
    }
    ratio = geometric([other / own for own, other in rows])
    return asdict(subject) | speeds | {"n": len(rows), "ratio": asdict(ratio)}


def geometric(ratios: Sequence[float]) -> Estimate:
    """The geometric mean of ratios, with Student's interval of their logarithms; one ratio has none."""
    logs = Estimate.of([math.log(ratio) for ratio in ratios])
    low, high = (None if end is None else math.exp(end) for end in (logs.ci_low, logs.ci_high))
    return Estimate(math.exp(logs.value), low, high, list(ratios))


def missing(what: str, peer: str, reason: object) -> dict[str, Any]:
    """A row of the table for a peer that could not be measured."""
    return {"what": what, "peer": peer, "missing": str(reason)}


def environment(name: str, pins: Sequence[str], root: Path) -> Path:
    """The Python of a throw-away environment, made by pip unless it is there.

    Raises:
        Absent: pip could not make it.
    """
    folder = root / re.sub(r"\W+", "-", name)
    python = folder / "bin/python"
    if not (folder / "done").exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip(python, "install", *pins)
        (folder / "done").touch()
    return python


def pip(python: Path, *words: str) -> None:
    """Run pip in an environment.

    Raises:
        Absent: it failed; the reason is its last line.
    """
    done = subprocess.run([python, "-m", "pip", *words], capture_output=True, text=True)
    if done.returncode:
        raise Absent(f"pip {words[0]}: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    """What a program said last, in one line; pip's warnings and notices are passed over."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("WARNING:", "[notice]"))]
    return said[-1] if said else "it ended without a message"


class Client:
    """peers_client.py in an environment of its own: it does its work once for every word it is sent.

    Args:
        python: of the environment.
        job: what the client needs to know.
        paths: where it finds packages that the environment lacks; they come before its own.

    Attributes:
        about: what the client said when it was ready.

    Raises:
        Absent: the peer does not start, or ends.
    """

    def __init__(self, python: Path, job: dict[str, Any], paths: Sequence[Path] = ()) -> None:
        alone = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        alone |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
        if paths:
            alone["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [python, CLIENT, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=alone,
        )
        self.about = self.answer()

    def answer(self) -> dict[str, Any]:
        """The client's next line."""
        assert self.process.stdout
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        raise Absent(last_line(self.errors.read()))

    def turn(self, word: str = "theirs") -> dict[str, Any]:
        """Do the work once; what was measured."""
        assert self.process.stdin
        with suppress(BrokenPipeError):  # `answer` says why it ended
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.errors.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
