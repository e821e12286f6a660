"""Chaos: commands killed at random points, disks that fill up, damaged files, two commands at once.

    python benchmarks/chaos.py             # all cases, writes benchmarks/results/chaos.json
    python benchmarks/chaos.py --short     # some of them; nothing is written
    python benchmarks/chaos.py --shortest  # a few, for the tests

A tiny pipeline of random weights is trained, judged, exported, reported and sampled. Every case ends bit for
bit like the undisturbed command, or with exactly one line that says what is wrong; what is lost is named.
The cases are drawn from --seed. Linux only: commands are forked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork has no threads but its own
sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos_process import Done, Running, command, counted, disk, kill_at, kill_when, preload, resize
from chaos_run import DAMAGE, damage, difference, digest, left_over, prepare, snapshot
from tables import chaos_table
from training_runs import write_result

OTHERS = {
    "report": ["report", "RUN"],
    "compare": ["compare", "RUN"],
    "rescore": ["evaluate", "RUN/eval/after"],
    "evaluate": ["evaluate", "RUN", "--tasks", "world-i2p", "--limit", "4", "--out", "RUN-judged"],
    "export": ["export", "RUN", "--out", "RUN-copy"],
    "lora": ["export", "RUN", "--to", "lora", "--out", "RUN-lora"],
    "kohya": ["export", "RUN", "--to", "kohya", "--out", "RUN-kohya.safetensors"],
    "sample": ["sample", "RUN", "a red square", "--out", "RUN.png"],
}
# Of these a flipped bit may go unseen: they are for people, and nothing is computed from them.
NAMED = ("damaged", "missing", "finished model", "no such file")
FOR_PEOPLE = ("metrics.jsonl", "during.jsonl", "log.txt", "report.html", "results.md", ".png", "README.md")


@dataclass(frozen=True)
class Sizes:
    """How many cases of each kind; of all damage, one in `damage`; whether reports are to hold plots."""

    kills: int
    times: int
    others: int
    disks: int
    damage: int
    pairs: int
    plots: bool = True


FULL = Sizes(kills=40, times=10, others=4, disks=12, damage=6, pairs=3)
SHORT = Sizes(kills=4, times=1, others=1, disks=1, damage=60, pairs=0)
SHORTEST = Sizes(kills=2, times=0, others=0, disks=1, damage=200, pairs=0, plots=False)


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        kind: of disturbance and command.
        case: which one.
        end: "equal"; "said": equal but for what a line names; "refused": one clear line; "unseen": of a file
            for people; "skipped".
        wrong: what should not be; empty where all is well.
    """

    kind: str
    case: str
    end: str
    wrong: str = ""


class Chaos:
    """One undisturbed run, and everything that is compared with it.

    Args:
        work: an empty folder.
        seed: of the cases.
        plots: whether reports are to hold them; they take a third of the time.
    """

    def __init__(self, work: Path, seed: int, plots: bool = True) -> None:
        self.work, self.random = work, random.Random(seed)
        self.words = prepare(work)
        preload(plots)
        began = time.monotonic()
        done = command(self.train("whole"), work)
        self.seconds = time.monotonic() - began
        if done.code:
            sys.exit(f"the undisturbed run failed:\n{done.text}")
        self.whole = snapshot(work / "whole")
        self.expected: dict[str, dict[str, str]] = {}

    def train(self, run: str) -> list[str]:
        """The training command."""
        return ["train", *self.words, "--out", run]

    def words_of(self, name: str) -> list[str]:
        """A command on the run of a case."""
        if name == "train":
            return self.train("case")
        return [word.replace("RUN", "case") for word in OTHERS[name]]

    def begin(self, source: str) -> None:
        """Begin a case with a copy of a run."""
        self.clean()
        shutil.copytree(self.work / source, self.work / "case")

    def clean(self) -> None:
        """Remove all of a case."""
        for path in [*self.work.glob("case*"), *self.work.glob(".case*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def result(self, done: Done | None = None) -> dict[str, str]:
        """Everything a command made of a case: the run, copies, results, pictures, and what it showed."""
        found = {"shown": done.text} if done else {}
        for path in self.work.glob("case*"):
            inside = snapshot(path) if path.is_dir() else {"": digest(path)}
            found |= {f"{path.name}/{name}": value for name, value in inside.items()}
        return found

    def undisturbed(self, name: str) -> dict[str, str]:
        """What a command makes of the whole run."""
        if name not in self.expected:
            self.begin("whole")
            done = command(self.words_of(name), self.work)
            self.expected[name] = self.result(done if name == "compare" else None)
            if done.code:
                sys.exit(f"{name} failed undisturbed:\n{done.text}")
            self.clean()
        return self.expected[name]

    def operations(self, name: str) -> int:
        """How many file operations a command does."""
        record = self.work / "count"
        command(self.words_of(name), self.work, counted(self.work, record))
        self.clean()
        return int(record.read_text(encoding="utf-8"))

    def killed_trainings(self, count: int) -> Iterator[Outcome]:
        """kill -9 at numbered file operations of a training: the first dozen, and some of all."""
        total = self.operations("train")
        numbers = [*range(1, 1 + min(12, count // 2)), *(self.random.randint(1, total) for _ in range(count))]
        for number in numbers[:count]:
            self.clean()
            command(self.train("case"), self.work, kill_at(self.work, number))
            yield self.goes_on("killed: train", f"at operation {number} of {total}")

    def killed_after_a_time(self, count: int) -> Iterator[Outcome]:
        """kill -9 after a random part of the time that a training takes."""
        for _ in range(count):
            self.clean()
            share = self.random.random()
            process = Running(self.train("case"), self.work)
            time.sleep(share * self.seconds)
            process.kill()
            process.wait()
            yield self.goes_on("killed: train, after a time", f"{share:.0%} of it")

    def goes_on(self, kind: str, case: str) -> Outcome:
        """The same command again ends like an undisturbed one, and leaves nothing lying about."""
        again = command(self.train("case"), self.work)
        wrong = failed(again) or difference(self.whole, snapshot(self.work / "case"))
        return Outcome(kind, case, "equal", wrong or left_over(self.work))

    def killed_others(self, count: int) -> Iterator[Outcome]:
        """kill -9 at file operations of the other commands."""
        for name in [name for name in OTHERS if name != "compare"] if count else []:
            expected = self.undisturbed(name)
            self.begin("whole")
            total = self.operations(name)
            for number in sorted({self.random.randint(1, total) for _ in range(count)}):
                self.begin("whole")
                command(self.words_of(name), self.work, kill_at(self.work, number))
                again = command(self.words_of(name), self.work)
                there = again.code == 2 and "exists already" in again.text  # killed after the last rename
                wrong = ("" if there else failed(again)) or difference(expected, self.result())
                where = f"at operation {number} of {total}"
                yield Outcome(f"killed: {name}", where, "equal", wrong or left_over(self.work))

    def full_disks(self, count: int) -> Iterator[Outcome]:
        """A training on a disk that fills up at a random byte; with more space the same command goes on."""
        size = sum(path.stat().st_size for path in (self.work / "whole").rglob("*") if path.is_file())
        (self.work / "disk").mkdir()
        for _ in range(count):
            limit = self.random.randrange(4096, size)
            yield self.in_a_fork(lambda limit=limit: self.full_disk(limit))

    def full_disk(self, limit: int) -> Outcome:
        """One of them, in a process that has the disk to itself."""
        place, case = self.work / "disk", f"{limit:,} bytes"
        try:
            disk(place, limit)
        except OSError as error:
            return Outcome("disk full: train", case, f"skipped: {error}")
        first = command(self.train("disk/run"), self.work)
        resize(place, 0)
        again = command(self.train("disk/run"), self.work)
        wrong = "" if first.clear and (first.code == 0 or "no space" in first.text.lower()) else first.text
        wrong = wrong or failed(again) or difference(self.whole, snapshot(place / "run"))
        return Outcome("disk full: train", case, "equal", wrong or left_over(place))

    def in_a_fork(self, work: Callable[[], Outcome]) -> Outcome:
        """The outcome of what is done in a process of its own."""
        result = self.work / "outcome"
        if (pid := os.fork()) == 0:
            try:
                result.write_text(json.dumps(asdict(work())), encoding="utf-8")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        return Outcome(**json.loads(result.read_text(encoding="utf-8")))

    def damaged_files(self, one_in: int) -> Iterator[Outcome]:
        """Files of a finished and of a killed run cut, flipped, emptied, removed; then every command."""
        command(self.train("half"), self.work, kill_when(self.work, "step_000003"))
        cases = [
            (source, path.relative_to(self.work / source), how, name)
            for source, names in (("whole", ["train", *OTHERS]), ("half", ["train", "report"]))
            for path in sorted((self.work / source).rglob("*"))
            if path.is_file() and path.name != ".lock"
            for how in DAMAGE
            for name in names
        ]
        for source, path, how, name in self.random.sample(cases, max(1, len(cases) // one_in)):
            if source == "whole" or name == "train":
                yield self.damaged(source, path, how, name)

    def damaged(self, source: str, path: Path, how: str, name: str) -> Outcome:
        """One damaged file, one command."""
        expected = self.undisturbed(name)
        self.begin(source)
        damage(self.work / "case" / path, how, self.random)
        done = command(self.words_of(name), self.work)
        differs = difference(expected, self.result(done if name == "compare" else None), f"case/{path}")
        log = self.work / "case/log.txt"
        told = done.text + (log.read_text(errors="replace", encoding="utf-8") if log.exists() else "")
        named = path.name in told and any(
            word in told for word in ("damaged", "missing", "finished model", "no such file")
        )
        kind, case = f"damaged: {name}", f"{source}/{path} {how}"
        if not done.clear:
            return Outcome(kind, case, "raw", done.text)
        if done.code:
            return Outcome(kind, case, "refused", "" if named else f"the file is not named: {done.text}")
        if not differs:
            return Outcome(kind, case, "said" if named else "equal")
        if named:
            return Outcome(kind, case, "said")
        unseen = path.name.endswith(FOR_PEOPLE)
        return Outcome(kind, case, "unseen", "" if unseen else differs)

    def pairs(self, count: int) -> Iterator[Outcome]:
        """Two commands at once: one does its work, the other does too or says why it cannot."""
        for a, b in [("train", "train"), ("evaluate", "evaluate"), ("export", "export"), ("train", "report")]:
            for _ in range(count):
                self.begin("whole") if "train" not in (a, b) else self.clean()
                first = Running(self.words_of(a), self.work)
                time.sleep(self.random.random() * (self.seconds if b == "report" else 0.5))
                both = [Running(self.words_of(b), self.work).wait(), first.wait()]
                wrong = "".join(done.text for done in both if not done.clear)
                if all(done.code for done in both):
                    wrong = wrong or "both failed"
                if a == b == "train":
                    wrong = wrong or difference(self.whole, snapshot(self.work / "case"))
                yield Outcome(f"at once: {a} and {b}", "", "equal", wrong or left_over(self.work))


def failed(done: Done) -> str:
    """What a command said that should have ended well."""
    return "" if done.clear and done.code == 0 else f"exit code {done.code}: {done.text}"


def run(sizes: Sizes, seed: int, work: Path) -> list[Outcome]:
    """All cases; each that went wrong is printed at once."""
    chaos, outcomes = Chaos(work, seed, sizes.plots), []
    for cases in (
        chaos.killed_trainings(sizes.kills),
        chaos.killed_after_a_time(sizes.times),
        chaos.killed_others(sizes.others),
        chaos.full_disks(sizes.disks),
        chaos.damaged_files(sizes.damage),
        chaos.pairs(sizes.pairs),
    ):
        for outcome in cases:
            outcomes.append(outcome)
            if outcome.wrong:
                print(f"WRONG {outcome.kind}, {outcome.case}: {outcome.wrong}", flush=True)
    return outcomes


def main() -> None:
    """Run the cases, show the table, and write it unless it is a short form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--shortest", action="store_true")
    asked = parser.parse_args()
    sizes = SHORTEST if asked.shortest else SHORT if asked.short else FULL
    with tempfile.TemporaryDirectory() as work:
        outcomes = run(sizes, asked.seed, Path(work).resolve())
    print(chaos_table([asdict(outcome) for outcome in outcomes]))
    wrong = [asdict(outcome) for outcome in outcomes if outcome.wrong]
    if sizes is FULL:
        content: dict[str, Any] = {"command": "python benchmarks/chaos.py", "seed": asked.seed}
        write_result("chaos", content | {"cases": [asdict(o) for o in outcomes], "sizes": asdict(sizes)})
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
