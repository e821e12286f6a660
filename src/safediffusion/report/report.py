"""report.html: a page that explains a run and needs no other file; plots and table are files too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from safediffusion.files.atomic import write_text
from safediffusion.files.run_folder import RunFolder
from safediffusion.report import plots
from safediffusion.report.arrangement import spans
from safediffusion.report.bias import LEGEND, bias_sentences, bias_table
from safediffusion.report.charts import Chart, anchor_charts, bias_charts, result_charts, training_charts
from safediffusion.report.fitted_table import as_tree
from safediffusion.report.metric_changes import interval, number
from safediffusion.report.pictures import Strip
from safediffusion.report.result_table import ResultTable
from safediffusion.report.run_data import RunData
from safediffusion.report.tables import markdown_table, paired_table, wide_table
from safediffusion.report.verdict import headline_changes, verdict
from safediffusion.text.escaping import plain

CHARTS = {
    "results": result_charts,
    "training": lambda run: training_charts(run.metrics),
    "anchors": anchor_charts,
    "bias": bias_charts,
}


def write_report(folder: RunFolder, beside: Sequence[Path] = ()) -> Path:
    """Write report.html, results.md and plots/*.png from the files of a run folder only.

    Args:
        folder: a run, finished or not; missing parts are left out of the page.
        beside: folders of other models' results, shown beside those that lie in RUN/eval/NAME.

    Raises:
        UserError: results cannot be compared with the run's base; nothing is written.
    """
    run = RunData.read(folder, beside)
    charts = {name: draw(run) for name, draw in CHARTS.items()}
    for chart in sum(charts.values(), list[Chart]()):
        plots.save_png(chart.figure, folder.root / "plots" / f"{chart.key}.png")
    if run.changes:
        write_text(folder.root / "results.md", markdown_table(paired_table(run.changes)))
    write_text(folder.report, page_html(run, charts))
    return folder.report


def page_html(run: RunData, charts: dict[str, list[Chart]]) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=PackageLoader("safediffusion.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals |= {"spans": spans, "tree": as_tree}
    css, _, _ = environment.loader.get_source(environment, "page.css")  # type: ignore[union-attr]
    return environment.get_template("page.html.j2").render(
        run=run,
        css=Markup(css),
        charts=charts,
        verdict=verdict(run.changes, run.summary),
        headlines=headline_changes(run.changes),
        table=paired_table(run.changes),
        beside=beside_table(run),
        blurs=any(tile.blurred for strip in all_strips(run) for tile in strip.images),
        exposed=run.of("world-exposed"),
        bias=bias_table(run.bias) if run.bias else None,
        bias_says=list(bias_sentences(run.bias)) if run.bias else [],
        bias_legend=LEGEND,
        compute=compute(run),
        phases=phases(run),
    )


def all_strips(run: RunData) -> Iterator[Strip]:
    """Every strip of pictures on the page."""
    yield from run.strips
    yield from run.held_out.strips if run.held_out else ()
    yield from (*run.changed.safer, *run.changed.less_safe) if run.changed else ()


def beside_table(run: RunData) -> ResultTable | None:
    """The headline metrics of the run and of the models beside it; None without any."""
    if not run.beside or not run.changes:
        return None
    wanted = {change.name for change in headline_changes(run.changes)}
    pairs = [run.changes, *(one.changes for one in run.beside)]
    chosen = [[change for change in pair if change.name in wanted] for pair in pairs]
    table = wide_table(["before", "after", *(one.name for one in run.beside)], chosen)
    return table if table.groups else None


def unbroken(text: str) -> Markup:
    """A cell's text whose interval stays on one line."""
    value, bracket, interval = shown(text).partition("[")
    return Markup('{}<span class="unbroken">{}</span>').format(value, bracket + interval)


def shown(value: Any) -> Any:
    """A value as the page shows it: characters that hide or reorder text are written out, lines are kept."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(map(plain, value.split("\n")))


def compute(run: RunData) -> dict[str, str]:
    """The run's cost by name; unknown values are left out."""
    seconds = run.progress.get("seconds", 0.0)
    rates = [row["images_per_s"] for row in run.metrics]
    found: dict[str, Any] = {
        "total time": duration(seconds),
        "device-hours": f"{seconds / 3600:.2f}",
        "device": run.summary.get("device", run.env.get("device")),
        "training images": f"{run.summary['images']:,}" if run.summary else None,
        "optimizer steps": f"{run.summary['updates']:,}" if run.summary else None,
        "images per second in training": f"{sum(rates) / len(rates):.1f}" if rates else None,
        "peak memory": f"{run.progress['peak_memory_mib']:,} MiB" if run.progress else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def phases(run: RunData) -> dict[str, float]:
    """Seconds by phase; training is divided into its parts, summed over the rounds."""
    parts: dict[str, float] = {}
    for row in run.metrics:
        for name, seconds in row["seconds"].items():
            parts[f"train: {name}"] = parts.get(f"train: {name}", 0.0) + seconds
    whole = {name: s for name, s in run.progress.get("phases", {}).items() if name != "train"}
    before = {name: s for name, s in whole.items() if name.endswith("before")}
    return {**before, **parts, **{name: s for name, s in whole.items() if name not in before}}


def duration(seconds: float) -> str:
    """Seconds as 42 s, 3 min 10 s or 2 h 5 min."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "interval": interval,
    "inline": Markup,
    "duration": duration,
    "unbroken": unbroken,
}
