"""What the page shows of a run: where it is, its curves, and its sample sheets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safediffusion.errors import RunError
from safediffusion.files.checked import read_json, read_optional
from safediffusion.files.contents import Samples, Step
from safediffusion.files.json_lines import readable_rows
from safediffusion.files.run_folder import RunFolder
from safediffusion.report import plots
from safediffusion.report.charts import Chart, training_charts
from safediffusion.report.metric_changes import title, unit
from safediffusion.report.report import duration
from safediffusion.report.run_data import alike
from safediffusion.report.sample_strips import SHEET, cut_sheet
from safediffusion.report.tables import run_changes
from safediffusion.report.verdict import QUALITY, SAFETY, verdict
from safediffusion.ui import markup
from safediffusion.ui.errors import html_text
from safediffusion.ui.pictures import Picture, image_html
from safediffusion.ui.run_files import stamp
from safediffusion.ui.run_state import RunState, kept

MOST_POINTS = 300  # of a curve
MOST_CURVES = 3  # of small evaluations
SAYS = {
    "starting": "is starting",
    "running": "is running",
    "stopping": "stops after this round and keeps a checkpoint",
    "stopped": "is stopped and can go on",
    "failed": "has failed",
    "finished": "is finished",
    "collapsed": "is finished, with signs of reward hacking",
    "missing": "is not there: the folder was deleted or moved; choose another run",
}


@dataclass(frozen=True)
class Sheets:
    """The sample sheets of a run.

    Attributes:
        steps: rounds that have a sheet, in their order.
        prompts: of the images of every sheet.
    """

    folder: RunFolder
    steps: tuple[int, ...]
    prompts: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, folder: RunFolder) -> Sheets:
        """The sheets that are there now."""
        names = [path.name for path in folder.samples.glob("step_*.png")]
        steps = sorted(int(match[1]) for name in names if (match := SHEET.fullmatch(name)))
        index = folder.samples / "samples.json"
        prompts = kept(read_samples, index) if stamp(index) else []
        return cls(folder, tuple(steps) if prompts else (), tuple(prompts))

    def html(self, at: int) -> str:
        """One sheet as pictures; those of prompts not labelled benign are hidden until a person opens one."""
        if not self.steps:
            return ""
        step = self.steps[min(max(at, 0), len(self.steps) - 1)]
        sheet = self.folder.sheet(step)
        images = kept(cut_sheet, sheet, len(self.prompts)) if stamp(sheet) else []
        heading = "before training" if step == 0 else f"after round {step}"
        if not images:
            return markup.note(f"{sheet} is damaged or gone; choose another round")
        tiles = ""
        for about, image in zip(self.prompts, images, strict=True):
            picture = image_html(about["prompt"], Picture(image, heading, hidden=about["label"] != "benign"))
            tiles += f"<figure><figcaption>{html_text(about['prompt'])}</figcaption>{picture}</figure>"
        return f'<h3>{html_text(heading)}</h3><div class="tiles">{tiles}</div>'


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The prompts of the sheets; none where the file is damaged."""
    return read_optional(path, Samples).get("prompts", [])


def status_html(state: RunState) -> str:
    """Where a run is: in words, as a bar, with what is wrong, and the last lines of its log."""
    name = html_text(state.folder.root.name)
    parts = [f'<p class="says status-{state.status}">{name} {SAYS[state.status]}</p>']
    if state.alarm:
        parts.append(f'<p class="alarm" role="alert">{html_text(state.alarm)}</p>')
    if state.error:
        parts.append(f'<p class="alarm" role="alert">{html_text(state.error)}</p>')
    parts += [phase_html(state), result_html(state), markup.note(*state.notes, kind="alarm")]
    if state.config:
        about = [f"recipe {state.config.recipe}, model {state.config.model.path}, seed {state.config.seed}"]
        about += [state.who] if state.who else []
        parts.append(markup.note("; ".join(about)))
    if state.log:
        lines = "\n".join(map(html_text, state.log))
        parts.append(f'<pre tabindex="0" aria-label="log">{lines}</pre>')
    return "".join(parts)


def phase_html(state: RunState) -> str:
    """The phase with a bar and the time left."""
    phase = state.phase
    if phase is None or state.status == "missing":
        return ""
    words = phase.name
    if phase.total:
        words += f": {phase.done:,} of {phase.total:,} {phase.unit}"
    if state.is_alive and phase.seconds_left is not None:
        words += f", about {duration(phase.seconds_left)} left"
    value = f' value="{phase.done}" max="{phase.total}"' if phase.total else ""
    bar = f'<progress{value} aria-label="{html_text(phase.name)}"></progress>'
    return f'<p class="phase">{html_text(words)}</p>{bar if state.is_alive or phase.total else ""}'


def result_html(state: RunState) -> str:
    """What a finished run has changed, in the words of its report."""
    if not state.summary:
        return ""
    path = state.folder.summary
    said = kept(read_verdict, path) if stamp(path) else []
    return markup.note(*said) + markup.note(f"The report is {state.folder.report}")


def read_verdict(summary: Path) -> list[str]:
    """The verdict of a finished run; none where a result is damaged."""
    try:
        found = verdict(run_changes(RunFolder(summary.parent)), read_json(summary))
    except (RunError, KeyError, TypeError):
        return []
    return [found.headline, *found.sentences]


def curves_html(state: RunState) -> str:
    """The curves of the rounds so far."""
    rows = alike(list(state.rows))
    if len(rows) < 2:
        return markup.note("Curves appear after the second round.") if state.phase else ""
    shown = [*small_evaluations(state.folder), *training_charts(thinned(rows))]
    return markup.charts(shown, "run")


def thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every so many rows, and the last one: no screen shows more points."""
    every = -(-len(rows) // MOST_POINTS)
    return [row for i, row in enumerate(rows) if (len(rows) - 1 - i) % every == 0]


def small_evaluations(folder: RunFolder) -> list[Chart]:
    """The rates of the small evaluations between rounds."""
    path = folder.eval_path("during.jsonl")
    rows = kept(read_steps, path) if stamp(path) else []
    names = [name for name in (*SAFETY, *QUALITY) if all(name in row for row in rows)]
    shown = [name for name in names if unit(*name.split("/", 1)) == "rate"][:MOST_CURVES]
    if len(rows) < 2 or not shown:
        return []
    series = {title(*name.split("/", 1)): [100 * row[name] for row in rows] for name in shown}
    colors = dict(zip(series, ("unsafe", "after", "benign"), strict=False))
    figure = plots.curves([row["step"] for row in rows], series, colors)
    note = "Small evaluations during training, % of images; too few images for fine differences."
    return [Chart("during", "During training", note, figure)]


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of eval/during.jsonl."""
    return readable_rows(path, Step)
