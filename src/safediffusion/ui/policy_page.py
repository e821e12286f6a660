"""The page Policy: phrases are edited, checked, audited and saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import gradio as gr

from safediffusion.steering.anchors import list_policies
from safediffusion.ui.errors import as_sentence
from safediffusion.ui.markup import note
from safediffusion.ui.policy_edit import Draft, place, save, start_from, without

FIRST = "scaled"  # the anchors of the recipe `world`
ENCODERS = ("world", "hpsv2.1", "openai/clip-vit-large-patch14")
WIDE = 260  # pixels of a field; a phone shows one beside the other only where they are narrower
NAME = "policy"  # of one that has no file yet
SAVED = "Not saved yet. A run takes the file with reward.anchors=FILE, and alpha with reward.alpha."
NOTHING = "Nothing measured yet. On World a check takes seconds; the first one also draws its pictures."


def policy_page(runs_dir: Path) -> None:
    """Add the page to the tab that is open."""
    first = start_from(FIRST, ENCODERS[0])
    with gr.Row():
        encoder = gr.Dropdown(
            list(ENCODERS), value=ENCODERS[0], allow_custom_value=True, label="Encoder",
            info="world, hpsv2.1, or a CLIP or SigLIP folder or hub id", min_width=WIDE,
        )  # fmt: skip
        begin = gr.Dropdown(
            list_policies(), value=FIRST, allow_custom_value=True, label="Start from",
            info="shipped anchors, or a .yaml file", min_width=WIDE,
        )  # fmt: skip
    load = gr.Button("Load these phrases", size="md")
    with gr.Row():
        each: dict[str, Any] = {"info": "one on each line", "lines": 10, "max_lines": 14, "min_width": WIDE}
        safe = gr.Textbox(first.safe, label="Safe phrases", **each)
        unsafe = gr.Textbox(first.unsafe, label="Unsafe phrases", **each)
    with gr.Row():
        alpha = gr.Number(first.alpha, label="Alpha", minimum=0, maximum=100, step=0.05, min_width=100)
        categories = gr.Textbox(first.categories, label="Categories", info="with commas", min_width=WIDE)
        description = gr.Textbox(first.description, label="Description", min_width=WIDE)
    # beside other fields a phone would cut it off
    one_sided = gr.Checkbox(first.one_sided, label="No safe phrases", info="the direction only points away")
    draft = [safe, unsafe, categories, description, alpha, one_sided]
    prompts = gr.Textbox("world", label="Labelled prompts", info="world, or a file with a label column")
    with gr.Row():
        check = gr.Button("Check", variant="primary", min_width=100)
        audit = gr.Button("Audit for bias", min_width=100)
    checked = gr.HTML(note(NOTHING), elem_id="policy-check", elem_classes="measured")
    audited = gr.HTML("", elem_id="policy-audit", elem_classes="measured")
    with gr.Group(visible=False) as leaving:
        hurting = gr.CheckboxGroup(
            [], label="Leave out", info="phrases that hurt, or that the audit suggests"
        )
        leave = gr.Button("Leave out the marked ones", size="md")
    file = gr.Textbox("my-policy.yaml", label="Save as", info="a name in the folder of runs, or a path")
    over = gr.Checkbox(False, label="Replace a file that exists")
    keep = gr.Button("Save")
    saved = gr.HTML(note(SAVED), elem_id="policy-saved", elem_classes="measured")
    found = gr.State({})

    quietly: dict[str, Any] = {"api_visibility": "private"}
    encoder.change(
        lambda name: gr.update(choices=list_policies(name)), encoder, begin, queue=False, **quietly
    )
    load.click(as_sentence(loaded), [begin, encoder], draft, **quietly)
    measuring = [*draft, encoder, prompts, found]
    beside = [hurting, leaving, found]
    alone = {"concurrency_id": "measure", "concurrency_limit": 1}  # both use the encoder that is loaded
    check.click(as_sentence(run_check), measuring, [checked, *beside], **alone, **quietly)
    audit.click(as_sentence(run_audit), measuring, [audited, *beside], **alone, **quietly)
    leave.click(as_sentence(left_out), [safe, unsafe, hurting], [safe, unsafe, hurting], **quietly)
    keep.click(as_sentence(lambda *given: kept(runs_dir, *given)), [*draft, file, over], saved, **quietly)


def loaded(name: str, encoder: str) -> tuple[Any, ...]:
    """The fields of another policy."""
    new = start_from(name, encoder)
    return new.safe, new.unsafe, new.categories, new.description, new.alpha, new.one_sided


def drafted(*fields: Any) -> Draft:
    """The fields as a draft; an empty number is the default."""
    safe, unsafe, categories, description, alpha, one_sided = fields
    number = Draft.alpha if alpha is None else float(alpha)
    return Draft(safe, unsafe, categories, description, number, bool(one_sided))


def run_check(*given: Any) -> tuple[Any, ...]:
    """The check as HTML, and what it suggests to leave out."""
    from safediffusion.ui import policy_measures
    from safediffusion.ui.policy_view import check_html

    *fields, encoder, prompts, found = given
    policy = drafted(*fields).policy(NAME)
    result = policy_measures.check(policy, encoder, prompts)
    return check_html(result, policy.alpha), *suggested(found | {"check": result})


def run_audit(*given: Any) -> tuple[Any, ...]:
    """The audit as HTML, and what it suggests to leave out."""
    from safediffusion.ui import policy_measures
    from safediffusion.ui.policy_view import audit_html

    *fields, encoder, prompts, found = given
    result = policy_measures.audit(drafted(*fields).policy(NAME), encoder, prompts)
    return audit_html(result), *suggested(found | {"audit": result})


def suggested(found: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """The list of phrases to leave out, shown where there are some; and what was measured."""
    from safediffusion.ui.policy_measures import hurting

    phrases = hurting(found.get("check"), found.get("audit"))
    return gr.update(choices=phrases, value=[]), gr.update(visible=bool(phrases)), found


def left_out(safe: str, unsafe: str, phrases: Sequence[str]) -> tuple[str, str, Any]:
    """Both fields without some phrases."""
    return without(safe, list(phrases)), without(unsafe, list(phrases)), gr.update(value=[])


def kept(runs_dir: Path, *given: Any) -> str:
    """Save the policy; returns what is said of it."""
    *fields, file, over = given
    path = place(file, runs_dir)
    policy = save(drafted(*fields), path, bool(over))
    count = f"{len(policy.safe)} safe and {len(policy.unsafe)} unsafe phrases"
    return note(f"Saved {path}: {count}. A run takes it with reward.anchors={quote(str(path))}", kind="says")
