"""The page Compare: the table of `safediffusion compare`, its plot, and pictures side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from safediffusion.errors import UserError
from safediffusion.files.paths import read_path
from safediffusion.ui.errors import as_sentence, html_text
from safediffusion.ui.found import judged
from safediffusion.ui.pictures import Picture, as_uri, note, row_html, rows_html

if TYPE_CHECKING:
    from safediffusion.evaluation.tables.method_table import MethodTable
    from safediffusion.evaluation.verdicts import Judged

ROWS = 12  # prompts on a page of pictures
ALL = "all"
CHANGED, SAFER, LESS_SAFE = "changed", "unsafe before, safe after", "safe before, unsafe after"
VERDICTS = [ALL, CHANGED, SAFER, LESS_SAFE]
WORDS = {True: "unsafe", False: "safe", None: "not judged"}
HOW_TO_KEEP = "No picture of these was kept; safediffusion evaluate keeps them with --save-images."


@dataclass(frozen=True)
class View:
    """What the pictures show: of these results, the prompts of a task that pass two filters, by pages."""

    compared: tuple[str, ...]
    task: str | None
    kind: str = ALL
    show: str = ALL
    page: int = 1


def compare_page(runs_dir: Path) -> None:
    """Add the page to the tab that is open."""
    found = judged(runs_dir)
    chosen = gr.Dropdown(
        found, value=found[:1], multiselect=True, allow_custom_value=True, label="Runs and results",
        info="the first is the baseline; a run alone is compared with its own beginning. "
        "Type the path of another folder and press Enter to add it.",
    )  # fmt: skip
    with gr.Row():
        button = gr.Button("Compare", variant="primary")
        again = gr.Button("List runs again", scale=0, min_width=190)
    table = gr.HTML(note("The table appears here."), elem_classes="compared")
    plot = gr.HTML("", elem_classes="compared")
    with gr.Row():
        task = gr.Dropdown([], label="Task", min_width=140)
        kind = gr.Dropdown([ALL], value=ALL, label="Category", min_width=140)
        show = gr.Dropdown(VERDICTS, value=ALL, label="Verdict", min_width=140)
        page = gr.Number(1, label="Page", precision=0, min_width=80)
    pictures = gr.HTML("", elem_classes="pictures")
    view = gr.State(None)
    button.click(
        as_sentence(compare),
        chosen,
        [view, table, plot, task, kind, show, page, pictures],
        show_progress_on=table,
        api_visibility="private",
    )
    gr.on(
        [task.input, kind.input, show.input, page.input], as_sentence(look), [view, task, kind, show, page],
        [view, kind, page, pictures], show_progress="hidden", api_visibility="private",
        trigger_mode="always_last",  # what is chosen while an answer is on its way is not dropped
    )  # fmt: skip
    again.click(
        lambda: gr.update(choices=judged(runs_dir)), None, chosen, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip


def compare(chosen: Sequence[str] | None) -> tuple[Any, ...]:
    """The view of what was chosen, its table and plot, the filters of its pictures, and the pictures."""
    from safediffusion.evaluation.tables.method_table import method_table
    from safediffusion.report.tables import comparison_table
    from safediffusion.ui.tables import method_html, result_html
    from safediffusion.ui.verdicts import shared_tasks

    paths = [read_path(name.strip()) for name in chosen or ()]
    if not paths:
        raise UserError("there is nothing to compare; choose a run or a folder of results")
    compared = tuple(map(str, paths))
    columns = columns_of(compared)
    table = method_table(columns)
    shown = result_html(comparison_table(paths)) if table.paired else method_html(table)
    tasks = shared_tasks(columns)
    view = View(compared, tasks[0] if tasks else None)
    task = gr.update(choices=tasks, value=view.task)
    return view, shown, plot_html(table), task, kinds(view), view.show, view.page, pictures_html(view)


def look(
    seen: View | None, task: str | None, kind: str, show: str, page: int | None
) -> tuple[View | None, Any, Any, Any]:
    """The pictures as the filters are now: another task has other categories, another filter its first page.

    Gradio calls it an input, too, when the focus leaves a list that nobody changed; nothing moves then.
    """
    wanted = seen and View(seen.compared, task, kind, show, int(page or 1))
    if seen is None or wanted is None or wanted == seen:
        return seen, gr.skip(), gr.skip(), gr.skip()
    categories = gr.skip()
    if wanted.task != seen.task:
        wanted = replace(wanted, kind=ALL)
        categories = kinds(wanted)
    if replace(wanted, page=seen.page) == seen:
        return wanted, categories, gr.skip(), pictures_html(wanted)
    wanted = replace(wanted, page=1)
    return wanted, categories, wanted.page, pictures_html(wanted)


def plot_html(table: MethodTable) -> str:
    """Quality over safety as a picture; a sentence where the results share no such pair."""
    from safediffusion.evaluation.tables.pareto import axes, plot

    figure, chosen = plot(table), axes(table)
    if figure is None or chosen is None:
        return note("No plot: the results share no safety and quality metric.")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    about = html_text(f"{chosen[1]} over {chosen[0]}; better in both is up and to the left")
    return f'<img class="plot" src="{as_uri(buffer.getvalue(), "png")}" alt="{about}">'


def columns_of(compared: Sequence[str]) -> dict[str, Path]:
    """The columns of what was compared, title to folder of results.

    Raises:
        UserError: a folder holds no results, or none any more.
    """
    from safediffusion.report.tables import sources

    columns = sources([Path(name) for name in compared])
    for path in columns.values():
        if not any(path.glob("*/results.json")):
            raise UserError(
                f"{path} holds no results; evaluate it, or choose another one if it was deleted meanwhile"
            )
    return columns


def kinds(view: View) -> Any:
    """The categories of the task's prompts to choose from."""
    from safediffusion.ui.verdicts import rows_of

    rows = rows_of(columns_of(view.compared), view.task) if view.task else []
    found = dict.fromkeys(row.category for row in rows)
    return gr.update(choices=[ALL, *found], value=view.kind)


def pictures_html(view: View) -> str:
    """A page of prompts, each with the pictures of all columns and what the judge said of them."""
    from safediffusion.ui.verdicts import picture_file, rows_of

    if not view.task:
        return note("No pictures: the results share no task.")
    columns = columns_of(view.compared)
    rows = [
        row
        for row in rows_of(columns, view.task)
        if view.kind in (ALL, row.category) and matches(row, view.show)
    ]
    pages = max(1, -(-len(rows) // ROWS))
    number = min(max(1, view.page), pages)
    part = rows[ROWS * (number - 1) : ROWS * number]
    files = [
        {title: picture_file(path / view.task, row.record["index"]) for title, path in columns.items()}
        for row in part
    ]
    head = f"{len(rows)} prompts of {view.task}; page {number} of {pages}"
    kept = any(file for row in files for file in row.values())
    shown = rows_html(map(pictures_of, part, files))
    return note(head) + ("" if kept or not part else note(HOW_TO_KEEP)) + shown


def matches(row: Judged, show: str) -> bool:
    """Whether a prompt is shown by its verdicts."""
    wanted = {SAFER: (True, False), LESS_SAFE: (False, True), CHANGED: (True, True)}.get(show)
    return wanted is None or (wanted[0] and row.became_safe) or (wanted[1] and row.became_unsafe)


def pictures_of(row: Judged, files: Mapping[str, Path | None]) -> str:
    """One prompt's pictures, blurred."""
    from safediffusion.ui.verdicts import read_picture

    pictures = [
        Picture(read_picture(files[title]), title, WORDS[unsafe], tone=WORDS[unsafe])
        for title, unsafe in row.unsafe.items()
    ]
    seed = row.record.get("seed")
    about = row.category if seed is None else f"{row.category}, seed {seed}"
    return row_html(row.record["prompt"], pictures, about)
