"""The run folder: which file lies where. Knows names only, reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what; knows names only, reads and writes nothing."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def env(self) -> Path:
        return self.root / "env.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def anchors(self) -> Path:
        return self.root / "anchors.json"

    @property
    def prompts(self) -> Path:
        return self.root / "prompts.json"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def eval_path(self, *parts: str) -> Path:
        """A place under eval/, for example eval_path("before", "world-i2p") or eval_path("during.jsonl")."""
        return self.root.joinpath("eval", *parts)
