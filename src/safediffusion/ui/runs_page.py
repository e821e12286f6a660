"""The page Runs: a run is planned, started, watched, stopped, and gone on with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from safediffusion.config import list_presets, list_recipes
from safediffusion.errors import RunError, UserError
from safediffusion.files.run_folder import RunFolder
from safediffusion.ui import run_start
from safediffusion.ui.errors import as_sentence, html_text
from safediffusion.ui.found import run_folders
from safediffusion.ui.markup import note, opened
from safediffusion.ui.run_start import NO_PRESET, Asked
from safediffusion.unexpected import tell

if TYPE_CHECKING:
    from safediffusion.ui.dry_run import DryRun
    from safediffusion.ui.run_view import Sheets

POLL = 1.5  # seconds
REDRAWN = 6.0  # seconds between two drawings of the curves of a run that goes on; one takes about a second
NO_PLAN = "The dry run says what a run is going to do; only then it can be started."
NO_RUN = "Choose a run to watch it, or start one above."
Update = Any  # of a component


@dataclass(frozen=True)
class Shown:
    """What a browser shows now, so that only what changed is sent.

    Attributes:
        names: of the runs in the list.
        name: of the chosen run.
        status: as HTML.
        curves: the number of rounds in them, and whether they are the last ones.
        drawn: when they were drawn, in seconds of a clock.
        steps: of the sample sheets.
        buttons: whether the run can be stopped, and go on.
    """

    names: tuple[str, ...] = ()
    name: str | None = None
    status: str = ""
    curves: tuple[int, bool] = (-1, False)
    drawn: float = 0.0
    steps: tuple[int, ...] = ()
    buttons: tuple[bool, bool] = (False, False)


def runs_page(runs_dir: Path) -> None:
    """Add the page to the tab that is open."""
    quietly: dict[str, Any] = {"api_visibility": "private"}
    with gr.Accordion("Start a run", open=not run_names(runs_dir)):
        with gr.Row():
            recipe = gr.Dropdown(
                list_recipes(), value="world", allow_custom_value=True, label="Recipe",
                info="a shipped recipe, or a .yaml file", min_width=200,
            )  # fmt: skip
            name = gr.Textbox("world", label="Name", info="of its folder", min_width=200)
        settings = gr.Textbox("", label="Settings", info="key=value, one on each line", lines=3, max_lines=12)
        with gr.Row():
            preset = gr.Dropdown(
                [NO_PRESET, *list_presets()], value=NO_PRESET, label="Preset",
                info="memory settings for a GPU", min_width=200,
            )  # fmt: skip
            nproc = gr.Number(1, label="Processes", info="that share the work", precision=0, min_width=200)
        with gr.Row():
            plan = gr.Button("Dry run", min_width=120)
            begin = gr.Button("Start", variant="primary", interactive=False, min_width=120)
        planned = gr.HTML(note(NO_PLAN), elem_id="run-plan", elem_classes="measured")
    with gr.Row():
        run = gr.Dropdown([], value=None, label="Run", info="in the folder of runs", min_width=240)
        stop = gr.Button("Stop", interactive=False, min_width=100)
        go_on = gr.Button("Go on", interactive=False, min_width=100)
    status = gr.HTML(note(NO_RUN), elem_id="run-status", elem_classes="measured")
    sheet = gr.Slider(0, 1, 0, step=1, label="Samples over the rounds", visible=False, elem_id="run-sheet")
    samples = gr.HTML("", elem_id="run-samples", elem_classes="pictures")
    curves = gr.HTML("", elem_id="run-curves", elem_classes="measured")
    dry, shown, timer = gr.State(None), gr.State(Shown()), gr.Timer(POLL)

    asked = [recipe, settings, name, preset, nproc]
    plan.click(
        as_sentence(lambda *given: planned_run(runs_dir, Asked(*given))),
        asked,
        [planned, begin, dry],
        **quietly,
    )
    gr.on(
        [field.change for field in asked], forget, None, [planned, begin, dry], show_progress="hidden",
        queue=False, **quietly,
    )  # fmt: skip
    watched = [run, status, sheet, samples, curves, stop, go_on, shown]

    def look(chosen: str | None, at: float, seen: Shown) -> tuple[Update, ...]:
        try:
            return refreshed(runs_dir, chosen, int(at or 0), seen)
        except (UserError, RunError, OSError) as error:  # a message every second would bury the page
            why = note(tell(error, verbose=True).text, kind="alarm")
            return gr.skip(), why, *[gr.skip()] * 5, replace(seen, status=why)

    begin.click(
        as_sentence(lambda plan, *given: start(runs_dir, plan, Asked(*given))), [dry, *asked],
        [run, begin, dry, planned], **quietly,
    )  # fmt: skip
    go_on.click(as_sentence(lambda chosen: resume(runs_dir, chosen)), run, go_on, **quietly)
    stop.click(as_sentence(lambda chosen: end(runs_dir, chosen)), run, stop, **quietly)
    gr.on(
        [timer.tick, run.change], as_sentence(look), [run, sheet, shown], watched, show_progress="hidden",
        trigger_mode="once", queue=False, **quietly,
    )  # fmt: skip
    sheet.input(
        as_sentence(lambda chosen, at: sheet_html(runs_dir, chosen, int(at))), [run, sheet], samples,
        show_progress="hidden", trigger_mode="always_last", **quietly,
    )  # fmt: skip


def run_names(runs_dir: Path) -> list[str]:
    """The runs in the folder of runs, and those that have just been started there."""
    found = [str(run.root.relative_to(runs_dir)) for run in run_folders(runs_dir)]
    loading = [run for run in run_start.just_started(runs_dir) if run.root.name not in found]
    return [*(run.root.name for run in loading), *found]


def folder_of(runs_dir: Path, name: str | None) -> RunFolder:
    """The chosen run.

    Raises:
        UserError: none is chosen, or the name leads out of the folder of runs.
    """
    if not name:
        raise UserError("no run is chosen; choose one in the list")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{name} is not in the folder of runs; choose a run in the list")
    return RunFolder(runs_dir / name)


def planned_run(runs_dir: Path, asked: Asked) -> tuple[str, Update, DryRun]:
    """The plan of a run as HTML; the run can be started."""
    from safediffusion.ui.dry_run import dry_run

    found = dry_run(asked, runs_dir)
    parts = [
        note(f"{found.begins[:1].upper()}{found.begins[1:]}.", kind="says"),
        f'<pre tabindex="0">{lines_html(found.plan)}</pre>',
        opened("All settings", f'<pre tabindex="0">{lines_html(found.settings)}</pre>'),
        f'<p class="note">In a shell: <code>{html_text(found.command)}</code></p>',
    ]
    return "".join(parts), gr.update(interactive=found.can_start), found


def lines_html(text: str) -> str:
    """A text of several lines, as it is."""
    return "\n".join(map(html_text, text.split("\n")))


def forget() -> tuple[str, Update, None]:
    """Other settings need a dry run of their own."""
    return note(NO_PLAN), gr.update(interactive=False), None


def start(runs_dir: Path, plan: DryRun | None, asked: Asked) -> tuple[Update, Update, None, str]:
    """Start the run that was planned, and watch it.

    Raises:
        UserError: these settings were not planned, or another process works on the run.
    """
    if plan is None or plan.asked != asked or not plan.can_start:
        raise UserError("these settings have had no dry run; press Dry run first")
    folder = asked.folder(runs_dir)
    run_start.start(asked.command(), folder)
    names = run_names(runs_dir)
    chosen = gr.update(choices=names, value=folder.root.name)
    return chosen, gr.update(interactive=False), None, note(f"Started {folder.root}; watch it below.")


def resume(runs_dir: Path, name: str | None) -> Update:
    """Go on with a run by the command that began it."""
    folder = folder_of(runs_dir, name)
    run_start.start(run_start.command_of(folder), folder)
    return gr.update(interactive=False)


def end(runs_dir: Path, name: str | None) -> Update:
    """Stop a run after its round."""
    run_start.stop(folder_of(runs_dir, name))
    return gr.update(interactive=False)


def sheet_html(runs_dir: Path, name: str | None, at: int) -> str:
    """One sheet of samples."""
    from safediffusion.ui.run_view import Sheets

    return Sheets.of(folder_of(runs_dir, name)).html(at) if name else ""


def refreshed(runs_dir: Path, chosen: str | None, at: int, seen: Shown) -> tuple[Update, ...]:
    """What changed since a browser looked last, one update for each part of the page.

    Args:
        runs_dir: the folder of runs.
        chosen: the run that is watched.
        at: which of its sheets is shown.
        seen: what the browser shows.
    """
    now = replace(seen, names=tuple(run_names(runs_dir)), name=chosen)
    runs = gr.skip() if now.names == seen.names else gr.update(choices=listed(now.names, chosen))
    if not chosen:
        first = seen == Shown() and now.names  # whoever opens the page sees the newest run
        return (
            gr.update(choices=list(now.names), value=now.names[0]) if first else runs,
            *[gr.skip()] * 6,
            now,
        )
    from safediffusion.ui.run_state import STATES  # what draws is slow to import, the page need not wait
    from safediffusion.ui.run_view import Sheets, curves_html, status_html

    folder = folder_of(runs_dir, chosen)
    state, sheets = STATES.read(folder), Sheets.of(folder)
    another = chosen != seen.name
    now = replace(
        now,
        status=status_html(state),
        steps=sheets.steps,
        buttons=(state.is_alive and state.status != "stopping", state.can_go_on),
    )
    ended, clock = not state.is_alive, time.monotonic()
    redraw = another or ((len(state.rows), ended) != seen.curves and (ended or clock > seen.drawn + REDRAWN))
    if redraw:
        now = replace(now, curves=(len(state.rows), ended), drawn=clock)
    slider, samples = sheet_updates(sheets, at, seen, another)
    return (
        runs,
        gr.skip() if now.status == seen.status and not another else now.status,
        slider,
        samples,
        curves_html(state) if redraw else gr.skip(),
        *(gr.update(interactive=able) for able in now.buttons),
        now,
    )


def listed(names: Sequence[str], chosen: str | None) -> list[str]:
    """The names to choose from; the chosen one stays, also where its folder is gone."""
    return [*names, *([chosen] if chosen and chosen not in names else [])]


def sheet_updates(sheets: Sheets, at: int, seen: Shown, another: bool) -> tuple[Update, Update]:
    """The slider and the sheet it shows; whoever looks at the last sheet sees each new one."""
    last = len(sheets.steps) - 1
    if sheets.steps == seen.steps and not another:
        return gr.skip(), gr.skip()
    follows = another or at >= len(seen.steps) - 1
    now = last if follows else min(at, last)
    slider = gr.update(maximum=max(1, last), value=max(0, now), visible=last > 0)
    return slider, sheets.html(now)
