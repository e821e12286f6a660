"""Writes the pages of docs/ that follow from code: settings, commands, recipes, and the files of examples/.

`make docs` runs it; a test fails while a page is out of date. Measured figures are for benchmarks/readme.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded
import gallery
from typer.main import get_command

from safediffusion.cli.commands import app
from safediffusion.config import flatten
from safediffusion.config.schema import RunConfig

DOCS = Path(__file__).parent
GENERATED = "<!-- written by docs/reference.py -->"
NAMES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
}
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
ABOUT = {
    "": "What belongs to no section; written without one, as `seed=1`.",
    "model": "What is trained, and how it is held in memory.",
    "prompts": "What pictures are drawn of during training; see [prompts](prompts.md).",
    "reward": "What a picture is liked for; see [rewards](rewards.md) and [anchors](own-anchors.md).",
    "rollout": "How the pictures of a step are drawn.",
    "train": "How the model learns from them; `nft:` and `grpo:` mark what only that algorithm reads.",
    "evaluate": "How the model is judged before, during and after; see [evaluation](evaluation.md).",
}
SETTINGS = """
# Settings

Every setting of a run. On the command line it is a word such as `reward.alpha=0.7`, in a YAML file

```yaml
reward:
  alpha: 0.7
```

Later layers win: the defaults below, the recipe that a file `extends`, the file, the words on the command
line. Recipes change many defaults; `safediffusion train sd14 --dry-run` prints what a run would really use. A
name that is not in these tables is refused with the nearest one that is, and so are values that do not fit
together.

Values are taken as they stand. Numbers have plain decimal digits, `1000`, `0.5` or `1e-5`, and an integer has
digits alone; `1_000`, `0x10`, `010`, `1:30` are refused, and so is `yes` for `true`. Text holds no control
characters. `~` at the beginning of a path is the home folder.
"""
COMMANDS = """
# Commands

`safediffusion COMMAND --help` prints the text of this page in a terminal, and `safediffusion --version`
prints the version. `-v` is accepted anywhere on the line; with it, an error is printed with its traceback.
`safediffusion --install-completion` lets the shell (bash, zsh, fish, PowerShell) complete commands, options
and recipes with Tab; `--show-completion` prints what it adds to the shell's settings.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the run failed |
| 2 | wrong usage; the line says what to set |
| 3 | a limit of `evaluate --fail-if` is broken |
| 130 | stopped by Ctrl-C |
| 143 | stopped by SIGTERM |
"""


def settings_page() -> str:
    """docs/settings.md."""
    schema, defaults = RunConfig.model_json_schema(), flatten(RunConfig())
    groups = {name: _target(about) for name, about in schema["properties"].items()}
    plain = {name: about for name, about in schema["properties"].items() if not groups[name]}
    lines = [GENERATED, SETTINGS, *_settings("", plain, defaults)]
    for section, group in groups.items():
        if group:
            lines += _settings(section, schema["$defs"][group]["properties"], defaults)
    return "\n".join(lines) + "\n"


def _target(about: dict[str, Any]) -> str:
    """The group of settings that a property stands for, or nothing."""
    return about.get("$ref", "").rpartition("/")[2]


def _settings(section: str, properties: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    """A section's heading and table."""
    yield f"## {section or 'run'}\n\n{ABOUT[section]}\n"
    yield "| setting | type | default | range | meaning |\n|---|---|---|---|---|"
    for name, about in properties.items():
        key = f"{section}.{name}" if section else name
        kind, bounds = _kind(about)
        yield _row(f"`{key}`", kind, f"`{_value(defaults[key])}`", bounds, about["description"])
    yield ""


def _kind(about: dict[str, Any]) -> tuple[str, str]:
    """A property's type and range, in words."""
    if "anyOf" in about:
        kind, bounds = _kind(about["anyOf"][0])
        return f"{kind}, or null", bounds
    if about.get("type") == "array":
        kind, bounds = _kind(about["items"])
        return f"list of {kind.removeprefix('one of')}".rstrip(), bounds
    if "$ref" in about:
        return "groups of the settings above", ""
    if "enum" in about:
        return "one of", ", ".join(f"`{value}`" for value in about["enum"])
    bounds = (text.format(f"{about[key]:,.12g}") for key, text in BOUNDS.items() if key in about)
    return NAMES[about["type"]], ", ".join(bounds)


def _value(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    names: dict[Any, str] = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def commands_page() -> str:
    """docs/commands.md."""
    lines = [GENERATED, COMMANDS]
    for words, command in _commands(get_command(app), ()):
        usage = " ".join(("safediffusion", *words, *_usage(command)))
        lines += [f"## {' '.join(words)}\n\n```text\n{usage}\n```\n\n{command.help}\n"]
        rows = [_parameter(p) for p in command.params if p.help and p.name != "help"]
        lines += ["| word | default | meaning |\n|---|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def _usage(command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    yield from (_argument(argument) for argument in arguments)
    if any(p.param_type_name == "option" and p.name != "help" for p in command.params):
        yield "[OPTIONS]"


def _argument(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    return word if argument.required or word.startswith("[") else f"[{word}]"


def _parameter(parameter: Any) -> str:
    """A table's row."""
    is_argument = parameter.param_type_name == "argument"
    name = _argument(parameter) if is_argument else ", ".join(parameter.opts)
    unset = parameter.required or parameter.default is None or parameter.default in ("", False)
    return _row(f"`{name}`", "" if unset else f"`{parameter.default}`", parameter.help)


def pages() -> dict[Path, str]:
    """The generated pages, and the pages with generated blocks."""
    own = {
        DOCS / "settings.md": settings_page(),
        DOCS / "commands.md": commands_page(),
        DOCS / "recipes.md": f"{GENERATED}\n{gallery.page()}",
    }
    return own | embedded.pages()


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
