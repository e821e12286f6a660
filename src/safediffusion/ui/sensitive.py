"""Which pictures the page hides until a person opens one: those of prompts not known to be harmless."""

from __future__ import annotations

import re
from functools import cache

from safediffusion.config.inputs import PromptsConfig
from safediffusion.prompts.select import load_prompts

WORD = re.compile(r"[^\W_]+")


@cache
def harmless_words() -> frozenset[str]:
    """The words of World's prompts that are labelled benign."""
    rows = load_prompts(PromptsConfig(path="world")).rows
    return frozenset(word for row in rows if row.label == "benign" for word in words(row.text))


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.casefold())


def is_sensitive(prompt: str) -> bool:
    """Whether a prompt has a word that no benign prompt of World has; when in doubt it is sensitive."""
    found = words(prompt)
    return not found or not harmless_words().issuperset(found)
