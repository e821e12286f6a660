"""The page Try: prompts on several models side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from safediffusion.baselines.suffix import split_suffix
from safediffusion.config.schema import EvaluateConfig
from safediffusion.errors import RunError, UserError
from safediffusion.files.paths import source
from safediffusion.files.run_folder import RunFolder
from safediffusion.models.named import run_config
from safediffusion.ui.errors import as_sentence, html_text
from safediffusion.ui.found import finished_runs
from safediffusion.ui.loaded import MODELS
from safediffusion.ui.pictures import Picture, row_html, rows_html
from safediffusion.ui.sensitive import is_sensitive

MOST_PICTURES = 64  # at once
LONGEST = 2000  # characters of a prompt; text encoders read fewer
LARGEST_SEED = 2**53 - 1  # a browser knows no larger integer
PROMPTS = "a person at the beach\na skull at the beach"
NOTHING = '<p class="note">Pictures appear here. Those of prompts not known to be harmless are blurred.</p>'


@dataclass(frozen=True)
class Request:
    """What is to be drawn.

    Attributes:
        strength: of what runs have learned; other models have none.
        sampler: steps and guidance.
    """

    prompts: list[str]
    models: list[str]
    seed: int
    strength: float
    sampler: EvaluateConfig

    def strength_of(self, model: str) -> float | None:
        """A run's strength; None for its result, and for every other model."""
        return self.strength if self.strength != 1 and is_run(split_suffix(model)[0]) else None

    def title(self, model: str) -> str:
        """What stands above a model's pictures."""
        strength = self.strength_of(model)
        return model if strength is None else f"{model}, strength {strength:g}"


def try_page(runs_dir: Path) -> None:
    """Add the page to the tab that is open."""
    chosen = first_choice(runs_dir)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            prompts = gr.Textbox(
                PROMPTS, label="Prompts", info="one on each line; the next ones take the next seeds", lines=3
            )
            models = gr.Dropdown(
                choices(runs_dir), value=chosen, multiselect=True, allow_custom_value=True,
                label="Models", info="a run, a folder, a hub id, world; also with a method, as in "
                "world+sld-strong. Type a name and press Enter to add it.",
            )  # fmt: skip
        with gr.Column(scale=1, min_width=280):
            strength = gr.Slider(0, 1.5, 1, step=0.05, label="Strength", info="of runs: 0 base, 1 result")
            with gr.Row():
                # bounds are checked in `request`: a field's own would lose what was typed
                default = EvaluateConfig()
                seed = gr.Number(0, label="Seed", precision=0, min_width=80)
                steps = gr.Number(default.steps, label="Steps", precision=0, min_width=80)
                guidance = gr.Number(default.guidance, label="Guidance", step=0.5, min_width=80)
    with gr.Row():
        button = gr.Button("Draw", variant="primary")
        again = gr.Button("List runs again", scale=0, min_width=190)
    pictures = gr.HTML(NOTHING, elem_classes="pictures")
    first = gr.State(None)
    button.click(
        as_sentence(draw), [prompts, models, seed, strength, steps, guidance], pictures,
        concurrency_id="draw", concurrency_limit=1, api_visibility="private",
    )  # fmt: skip
    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on(fn=own_sampler, inputs=[models, first], outputs=[first, steps, guidance], queue=False, **quiet)
    again.click(lambda: gr.update(choices=choices(runs_dir)), None, models, **quiet)


def choices(runs_dir: Path) -> list[str]:
    """Models to choose from; any other name can be typed."""
    return ["world", "world+sld-strong", *finished_runs(runs_dir)]


def first_choice(runs_dir: Path) -> list[str]:
    """World beside the newest run, or beside a baseline where there is no run."""
    world, baseline, *runs = choices(runs_dir)
    return [world, runs[0] if runs else baseline]


def is_run(model: str) -> bool:
    """Whether a name is that of a run folder."""
    return RunFolder(Path(model)).config.is_file()


def own_sampler(models: Sequence[str] | None, before: str | None) -> tuple[Any, Any, Any]:
    """Steps and guidance of the first model's run, once that is another one than before.

    What is wrong with a model is said when its pictures are asked for.
    """
    first = models[0] if models else None
    if first is None or first == before:
        return before, gr.skip(), gr.skip()
    try:
        sampler = run_config(first).evaluate
    except (UserError, RunError, OSError):
        return first, gr.skip(), gr.skip()
    return first, sampler.steps, sampler.guidance


def request(
    text: str,
    models: Sequence[str] | None,
    seed: int | None,
    strength: float,
    steps: int | None,
    guidance: float | None,
) -> Request:
    """The fields of the page, checked.

    Raises:
        UserError: a field is empty, or asks for too much; or the prompts or models are refused, see
            `check_request`.
        ValidationError: a number is out of bounds.
    """
    from safediffusion.models.images import check_request

    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    names = [source(name.strip()) for name in models or ()]
    if not prompts or not names:
        raise UserError("there is nothing to draw; give a prompt and a model")
    if (longest := max(map(len, prompts))) > LONGEST:
        raise UserError(
            f"a prompt has {longest:,} characters; text encoders read less, give {LONGEST:,} at most"
        )
    if (count := len(prompts) * len(names)) > MOST_PICTURES:
        raise UserError(f"these are {count} pictures; draw {MOST_PICTURES} at once at most")
    if not 0 <= (first := int(seed or 0)) <= LARGEST_SEED:
        raise UserError(f"seed is {first}; a page takes seeds from 0 to {LARGEST_SEED}")
    check_request(names, prompts, first)
    given = {"steps": steps, "guidance": guidance}
    changed = {name: value for name, value in given.items() if value is not None}
    sampler = EvaluateConfig.model_validate(run_config(names[0]).evaluate.model_dump() | changed)
    return Request(prompts, names, first, strength, sampler)


def draw(*fields: Any) -> Iterator[str]:
    """The pictures as HTML, again after each model."""
    wanted, start = request(*fields), time.monotonic()
    hidden = [is_sensitive(prompt) for prompt in wanted.prompts]
    rows: list[list[Picture]] = [[] for _ in wanted.prompts]
    for model in wanted.models:
        images = MODELS.draw(model, wanted.strength_of(model), wanted.prompts, wanted.seed, wanted.sampler)
        for i, image in enumerate(images):
            about = f"seed {wanted.seed + i}"
            rows[i].append(Picture(image, wanted.title(model), about, hidden[i]))
        yield page_html(wanted, rows, time.monotonic() - start)


def page_html(wanted: Request, rows: Sequence[Sequence[Picture]], seconds: float) -> str:
    """All rows, and how they were drawn."""
    done = sum(map(len, rows))
    of = len(wanted.prompts) * len(wanted.models)
    sampler = f"{wanted.sampler.steps} steps, guidance {wanted.sampler.guidance:g}"
    head = f"{done} of {of} pictures in {seconds:.1f} s; {sampler}"
    shown = rows_html(row_html(prompt, row) for prompt, row in zip(wanted.prompts, rows, strict=True))
    return f'<p class="note" role="status">{html_text(head)}</p>{shown}'
