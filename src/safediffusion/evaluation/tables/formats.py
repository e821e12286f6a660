"""A table of methods as Markdown, CSV, LaTeX and JSON; the short forms show each task's headline metrics."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from safediffusion.evaluation.tables.method_table import MethodTable, Value
from safediffusion.evaluation.tasks.i2p import PER_SEXUAL
from safediffusion.text.escaping import csv_text, latex_text, markdown_text, plain

LEGEND = (
    "Brackets: 95% interval. Bold: better than every other row by the paired interval. "
    "\u2713 and \u2717: better and worse than the first row, likewise; unmarked: not significant."
)
ANCHORS = "Published, other prompts, seeds and samplers; not comparable row by row:"


def headlines(table: MethodTable) -> list[str]:
    """The metrics over all of a task's images, and the counts scaled to I2P's size."""
    return [metric for metric in table.metrics if metric.count("/") == 1 or metric.endswith(PER_SEXUAL)]


def arrow(table: MethodTable, metric: str) -> str:
    """An arrow in the better direction; none where neither is better."""
    value = next(row[metric] for row in table.rows.values() if metric in row)
    return {True: "\u2191", False: "\u2193", None: ""}[value.higher_is_better]


def text(value: Value | None) -> str:
    """A value with its interval and mark; a dash where there is none."""
    if value is None:
        return "-"
    mark = {True: " \u2713", False: " \u2717", None: ""}[value.better]
    return f"{value.value:.4g} [{value.ci_low:.4g}, {value.ci_high:.4g}]{mark}"


def markdown(table: MethodTable) -> str:
    """One row per method, one column per metric; then the published numbers and the protocols."""
    metrics = headlines(table)
    lines = [
        "| method | " + " | ".join(f"{markdown_text(m)} {arrow(table, m)}" for m in metrics) + " |",
        "|---|" + "---:|" * len(metrics),
    ]
    for name, row in table.rows.items():
        cells = [f"**{text(v)}**" if (v := row.get(m)) and v.best else text(v) for m in metrics]
        lines.append(f"| {markdown_text(name)} | " + " | ".join(cells) + " |")
    lines += ["", LEGEND, *(f"Warning: {markdown_text(w)}" for w in table.warnings), ""]
    if table.published:
        lines += [ANCHORS, "", "| method | metric | value | protocol | note |", "|---|---|---:|---|---|"]
        lines += ["| " + " | ".join(map(markdown_text, row.values())) + " |" for row in table.published] + [
            ""
        ]
    protocols = {m: next(r[m].protocol for r in table.rows.values() if m in r) for m in metrics}
    lines += [f"- {markdown_text(m)}: {markdown_text(protocol)}" for m, protocol in protocols.items()]
    return "\n".join([*lines, ""])


def comma_separated(table: MethodTable) -> str:
    """One line per method and metric, all metrics; published numbers have no interval."""
    rows: list[list[object]] = [["method", "metric", "value", "ci_low", "ci_high", "n", "protocol", "source"]]
    for name, row in table.rows.items():
        for metric, v in row.items():
            rows.append([name, metric, v.value, v.ci_low, v.ci_high, v.n, v.protocol, "measured"])
    for p in table.published:
        source = "; ".join(filter(None, ["published", p["note"]]))
        rows.append([p["method"], p["metric"], p["value"], "", "", "", p["protocol"], source])
    buffer = io.StringIO()
    # quotes keep a text one cell, whatever a spreadsheet takes for a separator
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([csv_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return buffer.getvalue()


def latex(table: MethodTable) -> str:
    """A booktabs tabular, published numbers below a rule."""
    metrics = headlines(table)
    marks = {"\u2191": r"$\uparrow$", "\u2193": r"$\downarrow$"}
    head = " & ".join(["method", *(f"{latex_text(m)} {marks[arrow(table, m)]}" for m in metrics)])
    lines = [rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}", r"\toprule", head + r" \\", r"\midrule"]
    for name, row in table.rows.items():
        cells = [_latex_cell(row.get(m)) for m in metrics]
        lines.append(" & ".join([latex_text(name), *cells]) + r" \\")
    if table.published:
        lines.append(r"\midrule")
    for p in table.published:
        cells = [f"{p['value']:.4g}$^\\dagger$" if p["metric"] == m else "-" for m in metrics]
        lines.append(" & ".join([latex_text(p["method"]), *cells]) + r" \\")
    note = "% dagger: published under the protocol named by the column, other prompts, seeds and samplers"
    notes = [f"% {plain(p['method'])}, {p['metric']}: {p['note']}" for p in table.published if p["note"]]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", note, *notes, ""])


def _latex_cell(value: Value | None) -> str:
    if value is None:
        return "-"
    number = f"{value.value:.4g} [{value.ci_low:.4g}, {value.ci_high:.4g}]"
    return rf"\textbf{{{number}}}" if value.best else number


def as_json(table: MethodTable) -> str:
    """The whole table as JSON."""
    return json.dumps(asdict(table), indent=2) + "\n"


FORMATS: dict[str, Callable[[MethodTable], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "tex": latex,
    "json": as_json,
}
