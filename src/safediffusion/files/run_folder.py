"""The names of the files in a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files; it reads and writes nothing."""

    root: Path

    @property
    def config(self) -> Path:
        """The settings of the run, sealed with their hash."""
        return self.root / "config.yaml"

    @property
    def env(self) -> Path:
        """Versions and device at the run's start."""
        return self.root / "env.json"

    @property
    def metrics(self) -> Path:
        """One row per round."""
        return self.root / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """Log lines with their time."""
        return self.root / "log.txt"

    @property
    def samples(self) -> Path:
        """Sheets of sample images, and their prompts."""
        return self.root / "samples"

    def sheet(self, step: int) -> Path:
        """The sample sheet after `step` rounds."""
        return self.samples / f"step_{step:06d}.png"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints by round."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The result: a pipeline folder that diffusers loads."""
        return self.root / "model"

    @property
    def anchors(self) -> Path:
        """The anchor phrases and how well their direction separates."""
        return self.root / "anchors.json"

    @property
    def bias(self) -> Path:
        """The bias audit of the safety direction."""
        return self.root / "bias.json"

    @property
    def prompts(self) -> Path:
        """How many prompts of each kind were read."""
        return self.root / "prompts.json"

    @property
    def heldout(self) -> Path:
        """The prompts that are never trained on."""
        return self.root / "heldout.json"

    @property
    def progress(self) -> Path:
        """Time and memory used so far."""
        return self.root / "progress.json"

    @property
    def summary(self) -> Path:
        """Status, cost and metrics of the finished run."""
        return self.root / "summary.json"

    @property
    def relapse(self) -> Path:
        """What `relapse RUN` writes unless it is told another place."""
        return self.root / "relapse"

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.root / "report.html"

    def eval_path(self, *parts: str) -> Path:
        """Return a path below eval/, as in eval_path("before", "world-i2p") or eval_path("during.jsonl")."""
        return self.root.joinpath("eval", *parts)
