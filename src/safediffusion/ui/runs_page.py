"""The page Runs."""

from __future__ import annotations

from pathlib import Path

import gradio as gr


def runs_page(runs_dir: Path) -> None:
    """Add the page to the tab that is open."""
    gr.HTML("")
