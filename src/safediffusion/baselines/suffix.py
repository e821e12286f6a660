"""The suffix of a model's name: MODEL+METHOD, MODEL+METHOD@key=value or MODEL+METHOD:LIST of concepts."""

from __future__ import annotations

import os
import re

SUFFIX = re.compile(r"(?P<model>.+)(?P<suffix>\+[^+:/\\]+(:[^+]*)?)")


def split_suffix(name: str) -> tuple[str, str]:
    """A model without its suffix, and the suffix with its plus, "" where there is none.

    What exists under the whole name is a model whose name has a plus.
    """
    match = None if os.path.exists(name) else SUFFIX.fullmatch(name)
    return (match["model"], match["suffix"]) if match else (name, "")
