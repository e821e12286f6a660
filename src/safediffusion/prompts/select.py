"""The prompts a policy is trained on: which are skipped, what is said about them, and their order."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from safediffusion.config.inputs import PromptsConfig, PromptSource
from safediffusion.config.setting_types import Label
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.sources import PAIR, Row, category_names, read_source
from safediffusion.prompts.table import expanded
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    """A training prompt; label, category and kind are None where the source does not say.

    Attributes:
        source: place among the run's sources that it is from.
        kind: what the prompt asks for, in the source's own words; World has composition, benign, explicit
            and implicit.
        pair: files of the preferred and of the other image, where the source has them.
    """

    text: str
    label: Label | None = None
    category: str | None = None
    source: int = 0
    kind: str | None = None
    pair: tuple[Path, Path] | None = None


@dataclass(frozen=True)
class PromptSet:
    """A run's prompts, one source after the other, and how many were left out.

    Attributes:
        rows: to train on.
        repeated: prompts that an earlier one equals but for case and spaces.
        minors: prompts that sexualise minors.
        categories: prompts of categories that prompts.categories does not name.
        held_out: never trained on; the task heldout judges on them.
        empty: rows of the sources without a prompt.
        contradictory: texts that stand in the sources both as benign and as unsafe.
    """

    rows: list[Prompt]
    repeated: int = 0
    minors: int = 0
    categories: int = 0
    held_out: list[Prompt] = field(default_factory=list)
    empty: int = 0
    contradictory: int = 0

    def report(self) -> dict[str, Any]:
        """Counts for a run's prompts.json; no prompt is quoted."""
        count = Counter((row.source, row.label, row.category) for row in self.rows)
        kinds = [
            {"source": source, "label": label, "category": category, "prompts": n}
            for (source, label, category), n in count.items()
        ]
        left_out = {"repeated": self.repeated, "minors": self.minors, "categories": self.categories}
        held = dict(Counter(prompt.label or "unlabelled" for prompt in self.held_out))
        return {"prompts": len(self.rows), "held_out": held, "left_out": left_out, "kinds": kinds}


def load_prompts(config: PromptsConfig, phrases: Sequence[str] = ()) -> PromptSet:
    """The prompts of all sources, each text (with its pair) once, without those that sexualise minors.

    Args:
        config: the sources, and the categories that are trained on.
        phrases: unsafe prompts without a category, which become the last source.

    Raises:
        UserError: a source cannot be read or gives no prompt, or no prompt has a category that is asked for.
    """
    read = [read_source(source) for source in config.sources]
    sources = [
        (source.path, list(source_prompts(rows, source, i)))
        for i, (source, rows) in enumerate(zip(config.sources, read, strict=True))
    ]
    empty = sum(map(len, read)) - sum(len(found) for _, found in sources)
    if phrases:
        added = [(Prompt(text, "unsafe", source=len(sources)), []) for text in phrases]
        sources.append(("prompts.anchors", added))
    wanted = {name.strip().lower() for name in config.categories}
    known = {name for _, found in sources for _, categories in found for name in categories}
    _refuse_unknown_categories(wanted - known, known)
    rows: list[Prompt] = []
    seen: set[object] = set()
    repeated = minors = others = 0
    for number, (path, found) in enumerate(sources):
        for prompt, categories in found:
            key = (text_key(prompt.text), prompt.pair)
            if sexualises_minors(prompt.text, categories):
                minors += 1
            elif wanted and prompt.label != "benign" and not wanted.issuperset(categories):
                others += 1
            elif key in seen:
                repeated += 1
            else:
                seen.add(key)
                rows.append(prompt)
        if not any(row.source == number for row in rows):
            raise UserError(
                f"{path} holds no prompt to train on that is not left out; "
                "put one prompt per line, or use prompts.path=world"
                + (", or name more in prompts.categories" if wanted else "")
            )
    if minors:
        log.warning("skipped %d prompts that sexualise minors", minors)
    if repeated:
        log.warning("skipped %d prompts that repeat an earlier one", repeated)
    both = contradictory(prompt for _, found in sources for prompt, _ in found)
    return PromptSet(rows, repeated, minors, others, empty=empty, contradictory=both)


def text_key(text: str) -> str:
    """The text without what two spellings of one prompt differ in: case and spaces."""
    return " ".join(text.split()).casefold()


def contradictory(prompts: Iterable[Prompt]) -> int:
    """How many texts stand there with both labels."""
    labels: dict[str, set[str | None]] = {}
    for prompt in prompts:
        labels.setdefault(text_key(prompt.text), set()).add(prompt.label)
    return sum({"benign", "unsafe"} <= own for own in labels.values())


def _refuse_unknown_categories(unknown: Collection[str], known: Collection[str]) -> None:
    """Refuse categories of prompts.categories that no prompt is filed under."""
    if unknown and not known:
        raise UserError(
            "prompts.categories names categories, but no prompt has one; add a column `category`, "
            "set prompts.category, or leave prompts.categories out"
        )
    for name in sorted(unknown):
        hint = did_you_mean(name, sorted(known))
        raise UserError(f"prompts.categories has {shorten(name)}, which no prompt is filed under; {hint}")


def refuse_minors(prompts: Sequence[Prompt]) -> None:
    """Hold prompts that did not come through load_prompts to the minors rule.

    Raises:
        UserError: one of them sexualises minors.
    """
    if any(sexualises_minors(prompt.text, category_names(prompt.category)) for prompt in prompts):
        raise UserError("a prompt mentions minors in a sexual context; such prompts are never trained on")


def source_prompts(
    rows: Iterable[Row], source: PromptSource, number: int
) -> Iterator[tuple[Prompt, list[str]]]:
    """The prompts in a source's rows, each with every category that it is filed under."""
    for row in rows:
        if text := row["prompt"].strip():
            label = source.label or _label(row)
            own = _categories(row)
            category = source.category or ", ".join(own) or None
            found = Prompt(text, label, category, number, _kind(row), _pair(row, source))
            yield found, [*own, *category_names(source.category)]


def _categories(row: Row) -> list[str]:
    try:
        return category_names(row.get("category") or row.get("categories"))
    except ValueError as error:
        raise UserError(f"{row['where']}: the category is not understood; {error}") from error


def _pair(row: Row, source: PromptSource) -> tuple[Path, Path] | None:
    """The two files of a row; relative ones lie beside the table that names them."""
    names = [str(row.get(name) or "").strip() for name in PAIR]
    if not any(names):
        return None
    if not all(names):
        raise UserError(f"{row['where']}: a pair needs both `chosen` and `rejected`; fill both, or neither")
    chosen, rejected = (expanded(source.path).parent / expanded(name) for name in names)
    return chosen, rejected


def _kind(row: Row) -> str | None:
    cell = row.get("kind")
    return None if cell is None else str(cell).strip().lower() or None


def _label(row: Row) -> Label | None:
    """A row's label, in any case; None where the cell is empty."""
    cell = row.get("label")
    name = "" if cell is None else str(cell).strip().lower()
    if name and name not in get_args(Label):
        raise UserError(
            f"{row['where']}: label {cell!r} is not known; use benign, unsafe, or leave it empty, "
            "or set prompts.label for all of them"
        )
    return cast(Label, name) if name else None


def report_cut(
    prompts: Sequence[Prompt], reader: str, count_tokens: Callable[[str], int], context: int
) -> dict[str, int]:
    """How many prompts an encoder cuts, with one warning where it does.

    Args:
        prompts: of a run.
        reader: what the warning calls the encoder.
        count_tokens: of a text, with those for its beginning and end.
        context: tokens that the encoder reads.

    Returns:
        context, cut (prompts longer than it) and longest (tokens).
    """
    lengths = [count_tokens(prompt.text) for prompt in prompts]
    cut = sum(length > context for length in lengths)
    if cut:
        log.warning(
            "%d of %d prompts are longer than the %d tokens that %s reads, and are cut there",
            *(cut, len(prompts), context, reader),
        )
    return {"context": context, "cut": cut, "longest": max(lengths)}
