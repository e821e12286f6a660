"""Everything that a report needs, read from the files of a run folder only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safediffusion.config import dump, load_run_config
from safediffusion.files.checked import read_json, read_optional
from safediffusion.files.contents import Anchors, Bias, Metrics, Progress, Relapse, Results, Step, Summary
from safediffusion.files.json_lines import readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.beside import Beside, read_beside
from safediffusion.report.changed_verdicts import ChangedVerdicts, changed_verdicts
from safediffusion.report.held_out import HeldOutVerdict, read_held_out
from safediffusion.report.metric_changes import MetricChange
from safediffusion.report.pictures import Strip
from safediffusion.report.sample_strips import strips
from safediffusion.report.strength_plot import Dialled, read_strengths
from safediffusion.report.tables import run_changes


@dataclass(frozen=True)
class RunData:
    """The contents of a run folder; what the run has not written is empty.

    Attributes:
        config: nested settings.
        metrics: one row per round.
        changes: one per evaluated metric.
        during: one row per small evaluation, TASK/METRIC to value.
        strips: sample images by prompt.
        held_out: the run's verdict on prompts that it never trained on; None before both evaluations.
        sampler: the settings that the judged images were sampled with, and their seed.
        strengths: the results of `evaluate RUN --strength`.
        relapse: the result of `relapse RUN`.
        changed: prompts whose verdict changed; None where harm was not measured.
        beside: other models' results, compared with the run's base.
    """

    name: str
    config: dict[str, Any]
    config_text: str
    env: dict[str, Any]
    metrics: list[dict[str, Any]]
    changes: list[MetricChange]
    during: list[dict[str, Any]]
    strips: list[Strip]
    held_out: HeldOutVerdict | None
    anchors: dict[str, Any]
    bias: dict[str, Any]
    progress: dict[str, Any]
    summary: dict[str, Any]
    sampler: dict[str, Any]
    strengths: list[Dialled]
    relapse: dict[str, Any]
    changed: ChangedVerdicts | None
    beside: list[Beside]

    @classmethod
    def read(cls, folder: RunFolder, beside: Sequence[Path] = ()) -> RunData:
        """Read a run folder, finished or not; what is damaged and not needed is left out with a warning.

        Args:
            folder: of the run.
            beside: folders of other models' results, or runs, beside those in RUN/eval/NAME.

        Raises:
            Damaged: a file without which the page would be wrong: settings, results, records or the summary.
            UserError: results cannot be compared with the run's base.
        """
        settings = load_run_config(folder.config)
        world = settings.model.path == "world"
        results = sorted(folder.eval_path("after").glob("*/results.json"))
        judged = read_json(results[0], Results) if results else {}
        return cls(
            name=folder.root.resolve().name,
            config=settings.model_dump(),
            config_text=dump(settings),
            env=read_optional(folder.env),
            metrics=alike(readable_rows(folder.metrics, Metrics)),
            changes=(changes := run_changes(folder)),
            during=readable_rows(folder.eval_path("during.jsonl"), Step),
            strips=strips(folder.samples, pictograms=world),
            held_out=read_held_out(folder, world),
            anchors=read_optional(folder.anchors, Anchors),
            bias=read_optional(folder.bias, Bias),
            progress=read_optional(folder.progress, Progress),
            summary=read_json(folder.summary, Summary) if folder.summary.exists() else {},
            sampler={**(judged.get("sampler") or {}), **(judged.get("seeds") or {})},
            strengths=read_strengths(folder),
            relapse=read_optional(folder.relapse / "relapse.json", Relapse),
            changed=changed_verdicts(folder, changes, world),
            beside=read_beside(folder, beside),
        )

    def of(self, task: str, prefix: str = "") -> list[MetricChange]:
        """The changes of a task's metrics whose names begin with a prefix."""
        return [change for change in self.changes if change.task == task and change.metric.startswith(prefix)]


def alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the rewards and statistics that most rows have; edited files may mix several."""
    names = [(tuple(row["rewards"]), tuple(row["image_stats"])) for row in rows]
    usual = Counter(names).most_common(1)[0][0] if names else None
    return [row for row, own in zip(rows, names, strict=True) if own == usual]
