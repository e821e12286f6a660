"""Copies the files of examples/ into the pages that show them, so that each is written once.

A page marks the fenced block of a file with a comment on the line above it, and docs/reference.py fills it.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
BLOCK = re.compile(
    r"^(<!-- examples/(\S+): written by docs/reference.py -->\n```[^\n]*\n).*?^```", re.MULTILINE | re.DOTALL
)


def shown(text: str) -> list[str]:
    """The files of examples/ that a page shows."""
    return [name for _, name in BLOCK.findall(text)]


def filled(text: str) -> str:
    """The page with every marked block as its file has it now."""
    return BLOCK.sub(lambda block: f"{block[1]}{read(block[2])}```", text)


def read(name: str) -> str:
    """A file of examples/, which ends in a line break."""
    return (EXAMPLES / name).read_text(encoding="utf-8")


def pages() -> dict[Path, str]:
    """The pages that show a file of examples/."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    return {path: filled(text) for path, text in texts.items() if shown(text)}
