"""The page: a head and four tabs, each of a module of its own."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from safediffusion.ui.compare_page import compare_page
from safediffusion.ui.policy_page import policy_page
from safediffusion.ui.runs_page import runs_page
from safediffusion.ui.try_page import try_page

TITLE = "SafeDiffusion-R1"
TABS = {"Try": try_page, "Policy": policy_page, "Runs": runs_page, "Compare": compare_page}


def build(runs_dir: Path) -> gr.Blocks:
    """Build the page; `serve.application` gives it its style and a server.

    Events that no click starts (a tick, the page's loading, a field that another event changes) go without
    gradio's queue: its stream of results closes after each, and a click of that moment would be lost.

    Args:
        runs_dir: the folder whose run folders are offered; it need not exist yet.
    """
    # one event at a time: two models that draw at once would share memory and cores
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{TITLE}</h1>", elem_id="head")
        with gr.Tabs():
            for name, tab in TABS.items():
                with gr.Tab(name, id=name.lower(), elem_id=f"tab-{name.lower()}"):
                    tab(runs_dir)
    return page
