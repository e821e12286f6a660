"""Everything a report needs, read from the files of a run folder alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import dump, load_run_config
from ..runs import RunFolder, read_jsonl
from .lines import Line
from .samples import Strip, strips
from .tables import run_lines


@dataclass(frozen=True)
class RunData:
    """The contents of a run folder; what the run has not written is empty.

    Attributes:
        config: nested settings.
        metrics: a row a training step.
        lines: a line an evaluated metric.
        during: a row a small evaluation, TASK/METRIC to value.
        strips: sample pictures by prompt.
        sampler: how the judged pictures were drawn, with their seed.
    """

    name: str
    config: dict[str, Any]
    config_text: str
    env: dict[str, Any]
    metrics: list[dict[str, Any]]
    lines: list[Line]
    during: list[dict[str, Any]]
    strips: list[Strip]
    anchors: dict[str, Any]
    progress: dict[str, Any]
    summary: dict[str, Any]
    sampler: dict[str, Any]

    @classmethod
    def read(cls, folder: RunFolder) -> RunData:
        """Read a run folder, finished or not."""
        config = load_run_config(folder.config)
        results = sorted(folder.eval("after").glob("*/results.json"))
        judged = read_object(results[0]) if results else {}
        return cls(
            name=folder.root.resolve().name,
            config=config.model_dump(),
            config_text=dump(config),
            env=read_object(folder.env),
            metrics=read_jsonl(folder.metrics),
            lines=run_lines(folder),
            during=read_jsonl(folder.eval("during.jsonl")),
            strips=strips(folder.samples),
            anchors=read_object(folder.anchors),
            progress=read_object(folder.progress),
            summary=read_object(folder.summary),
            sampler={**judged["sampler"], **judged["seeds"]} if judged else {},
        )

    def of(self, task: str, prefix: str = "") -> list[Line]:
        """A task's lines whose metric begins with a prefix."""
        return [line for line in self.lines if line.task == task and line.metric.startswith(prefix)]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the run has not written it."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
