"""`safediffusion compare`: the paired table on screen; methods by metrics with published numbers in files."""

from __future__ import annotations

import logging
from pathlib import Path

from safediffusion.files.atomic import write_text
from safediffusion.text.terminal import say, show

log = logging.getLogger(__name__)


def compare(paths: list[Path], out: Path | None) -> None:
    """Show runs or results side by side; with `out`, write table.md, .csv, .tex, .json and pareto.png.

    Args:
        paths: run folders or folders of results; the first is the baseline.
        out: a folder.
    """
    from safediffusion.evaluation.tables.formats import FORMATS
    from safediffusion.evaluation.tables.method_table import method_table
    from safediffusion.report.tables import comparison, sources

    table = method_table(sources(paths))
    for warning in table.warnings:
        log.warning("%s", warning)
    if table.paired:
        show(comparison(paths))
    else:
        show(FORMATS["md"](table))
    if out:
        for ending, text in FORMATS.items():
            write_text(out / f"table.{ending}", text(table))
        from safediffusion.evaluation.tables.pareto import draw

        draw(table, out / "pareto.png")
        say(out)
