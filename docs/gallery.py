"""The gallery of recipes, docs/recipes.md: from the comment that heads each recipe and from its settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from safediffusion.config import list_recipes, load_config, recipe_path

DOCS = Path(__file__).parent
REASON = re.compile(r"  (\w+)\s+(\S.*)")  # a setting and why it is so
CARD = re.compile(r"a card of (\d+ GB)")
INTRO = """
# Recipes

A recipe is a set of settings for a model and a size of GPU. This page is written from the headers of the
recipes.

```
safediffusion recipes list
safediffusion recipes show sd14-lora-12gb
safediffusion train sd14-lora-12gb prompts.path=PROMPTS.csv --dry-run
safediffusion recipes copy sd14-lora-12gb mine.yaml
```

`--dry-run` prints the settings and a plan, and loads nothing. `--preset 8gb` and the like change the settings
that memory depends on. [Settings](settings.md) says what each of them does, and
[your own model](own-model.md#the-recipe) how to write a recipe.

**Memory and times of the real models are estimates**, counted from the sizes of their networks. Nothing was
measured on the real weights yet.
"""


@dataclass(frozen=True)
class Header:
    """What the comment at the head of a recipe says.

    Attributes:
        what: one or a few sentences.
        commands: as they are typed.
        needs: of the machine.
        expect: work, time and results.
        notes: everything else, as lines of Markdown.
    """

    what: str
    commands: list[str]
    needs: str
    expect: str
    notes: list[str]


def header(text: str) -> Header:
    """The header of a recipe: paragraphs of a comment, the last of which may be notes."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" ").rstrip())
    parts = [list(part) for full, part in groupby(lines, key=bool) if full]
    is_command = [part[0].startswith("    ") for part in parts]
    first, last = is_command.index(True), len(is_command) - is_command[::-1].index(True)
    needs, _, expect = " ".join(parts[last]).partition("Expect")
    return Header(
        " ".join(line for part in parts[:first] for line in part),
        [line.strip() for part in parts[first:last] for line in part],
        _sentence(needs.removeprefix("Needs")),
        _sentence(expect),
        [line for part in parts[last + 1 :] for line in _markdown(part)],
    )


def _sentence(text: str) -> str:
    """What follows `Needs` or `Expect`, without the colon; an estimate keeps its word."""
    about, _, rest = text.partition(":")
    return f"(estimate) {rest.strip()}" if "estimate" in about else rest.strip()


def _markdown(lines: Sequence[str]) -> Iterator[str]:
    """Sentences as they are; a setting with its reason, on indented lines, as an item of a list."""
    listed = False
    for line in lines:
        if found := REASON.fullmatch(line):
            yield from [] if listed else [""]
            listed = True
            yield f"- `{found[1]}`: {found[2]}"
        else:
            yield f"  {line.strip()}" if line.startswith("  ") else line
    yield ""


@cache
def family_pages() -> dict[Path, str]:
    """The pages of the model families with their texts."""
    pages = sorted((DOCS / "families").glob("*.md"))
    return {page: page.read_text(encoding="utf-8") for page in pages if page.name != "index.md"}


def family(name: str) -> tuple[str, str]:
    """The family of a recipe and its page: the one with its plan; recipes of World belong to World."""
    if name.startswith("world"):
        return "World", "world.md"
    named = re.compile(rf"safediffusion train {re.escape(name)} --dry-run")
    ((page, text),) = (item for item in family_pages().items() if named.search(item[1]))
    return text.splitlines()[0].removeprefix("# "), page.relative_to(DOCS).as_posix()


def trains(name: str) -> str:
    """What of the model a recipe trains, by which algorithm, for how many rounds of how many images."""
    config = load_config(name)
    rank, rollout = config.train.lora_rank, config.rollout
    what = f"an adapter of rank {rank}" if rank else "the whole network"
    return (
        f"{what} by `{config.train.algorithm}`, {config.train.steps} rounds of "
        f"{rollout.prompts * rollout.group_size} images"
    )


def card(needs: str) -> str:
    """The size of GPU that is enough, or the CPU."""
    found = CARD.search(needs)
    return found[1] if found else "a CPU"


def overview(families: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    """A table of all recipes."""
    yield "| recipe | family | enough is | trains |\n|---|---|---|---|"
    for (title, page), names in families.items():
        for name in names:
            about = (f"[`{name}`](#{name})", f"[{title}]({page})", card(read(name).needs), trains(name))
            yield f"| {' | '.join(about)} |"
    yield ""


def read(name: str) -> Header:
    """The header of a shipped recipe."""
    return header(recipe_path(name).read_text(encoding="utf-8"))


def section(name: str) -> Iterator[str]:
    """A recipe with its command, what it needs and what to expect."""
    found = read(name)
    yield f"### `{name}`\n\n{found.what}\n"
    yield "\n".join(("```", *found.commands, "```", ""))
    yield f"- **Trains** {trains(name)}.\n- **Needs** {found.needs}"
    if found.expect:
        yield f"- **Expect** {found.expect}"
    yield ""
    yield from found.notes


def page() -> str:
    """docs/recipes.md."""
    families: dict[tuple[str, str], list[str]] = {}
    for name in list_recipes():
        families.setdefault(family(name), []).append(name)
    lines = [INTRO, *overview(families)]
    for (title, about), names in families.items():
        lines.append(f"## {title}\n\n[More about the family]({about}).\n")
        lines += [line for name in names for line in section(name)]
    return "\n".join(lines).rstrip("\n") + "\n"
