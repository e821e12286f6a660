"""Text from outside (prompts, names, paths, messages) made harmless for the place where it is shown.

HTML is escaped by the report's templates; what is here serves terminals, tables and charts.
"""

from __future__ import annotations

import re
import unicodedata

JOINERS = "\u200c\u200d"  # Persian words and emoji need them, and they move nothing
MARKDOWN = re.compile(r"[\\`*\[\]|~$!#]|(?<![^\W_])_|_(?![^\W_])")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LABEL = 60  # characters of a text in a chart
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{c: f"\\{c}" for c in "{}$&#_%"},
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    **{c: f"{{{c}}}" for c in "[]*"},  # which a line break takes for its own
}


def plain(text: object) -> str:
    """Text on one line, with everything that is not printed as itself written out, as in `\\x1b`.

    That is control characters (escape sequences of terminals, line breaks), characters that reorder or hide
    text (bidirectional overrides, zero-width spaces), and what is no character at all.
    """
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in str(text))


def _is_shown(c: str) -> bool:
    return c.isprintable() or c in JOINERS or unicodedata.category(c) == "Zs"


def shorten(text: str, most: int = 80) -> str:
    """The beginning of a text that would fill the screen."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def markdown_text(text: object) -> str:
    """Text that a line or a table's cell of Markdown shows as it is."""
    escaped = re.sub("[&<>]", lambda found: ENTITIES[found[0]], plain(text))
    return MARKDOWN.sub(lambda found: "\\" + found[0], escaped)


def csv_text(text: object) -> str:
    """Text that a spreadsheet shows and never computes: a formula gets an apostrophe before it."""
    cell = plain(text)
    return f"'{cell}" if cell.lstrip().startswith(FORMULA) else cell


def latex_text(text: object) -> str:
    """Text that LaTeX prints as it is, also as the first cell of a row."""
    return re.sub("-(?=-)", "-{}", "".join(LATEX.get(c, c) for c in plain(text)))


def chart_text(text: object) -> str:
    """Text that matplotlib writes as it is: no mathematics between dollars, no label hidden by `_`.

    Long text would leave no room for the chart, so its end is cut off.
    """
    label = shorten(plain(text), LABEL).replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label
