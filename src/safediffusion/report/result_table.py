"""The content of a table of results, before it is drawn for a terminal, a page or a file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A cell's text, and whether its value is better, worse or neither.

    Attributes:
        short: the text without its interval, for a narrow terminal; None where there is none to leave out.
    """

    text: str
    better: bool | None = None
    best: bool = False
    short: str | None = None


@dataclass(frozen=True)
class ResultTable:
    """The content of a table; `groups` are the tasks, each with its rows, label first.

    Attributes:
        failed: by task, how many images failed in which column; empty where none did.
    """

    headers: tuple[str, ...]
    groups: dict[str, list[list[Cell]]]
    failed: dict[str, str] = field(default_factory=dict)
