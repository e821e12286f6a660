"""The page Compare."""

from __future__ import annotations

from pathlib import Path

import gradio as gr


def compare_page(runs_dir: Path) -> None:
    """Add the page to the tab that is open."""
    gr.HTML("")
