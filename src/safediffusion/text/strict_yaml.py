"""The only reader of YAML from outside. It accepts plain values, and nothing that reaches beyond the file.

Recipes and anchors are shared between people. A file must not read the environment (interpolations), build
objects (tags), fill the memory (nesting, aliases) or hide a value behind another (repeated keys); those, keys
that are not text, and several documents are refused with their line. A number has plain decimal digits, a
truth value is `true` or `false`, as in YAML 1.2: `1_000`, `0x10`, `010`, `1:30`, `yes` and dates stay texts.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml import MappingNode, Node, ScalarNode
from yaml.events import AliasEvent

from safediffusion.errors import UserError
from safediffusion.text.escaping import plain

DEEPEST = 20  # levels; a recipe has four
MOST = 10_000  # values, those that aliases repeat counted each time, long texts as several
LARGEST = 2**20  # bytes of a file
INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
FLOAT = re.compile(
    r"([-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
)
PLAIN = {  # what a text without quotes may stand for, and how that begins
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), "tTfF"),
    "float": (FLOAT, "-+0123456789."),
    "int": (INT, "-+0123456789"),
    "merge": (re.compile(r"<<\Z"), "<"),
    "null": (re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
}
KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class Refused(yaml.MarkedYAMLError):
    """Valid YAML that this reader refuses."""


class Reader(yaml.SafeLoader):
    """SafeLoader with the rules above."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = self.size = 0
        self.sizes: dict[int, int] = {}  # of every finished node

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose a node, after checking its depth and its tag."""
        event: Any = self.peek_event()
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused(event, f"is nested more than {DEEPEST} levels deep")
        if getattr(event, "tag", None) not in (None, "!"):
            raise _refused(event, f"has the tag {event.tag!r}; write the value without a tag")
        before = self.size
        node: Any = super().compose_node(parent, index)
        self._count(node, before, isinstance(event, AliasEvent))
        self.depth -= 1
        return node

    def _count(self, node: Node, before: int, repeated: bool) -> None:
        if repeated and id(node) not in self.sizes:
            raise _refused(node, "holds an alias of itself")
        own = 1 + len(node.value) // 1000 if isinstance(node, ScalarNode) else 1
        self.size = before + self.sizes[id(node)] if repeated else self.size + own
        self.sizes[id(node)] = self.size - before
        if self.size > MOST:
            raise _refused(node, f"holds more than {MOST} values, with those that aliases repeat")

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        """Compose a value; one that refers to something outside the file is refused."""
        node = super().compose_scalar_node(anchor)
        if "${" in node.value:
            raise _refused(node, "holds an interpolation, ${...}; write the value itself")
        if node.value == "???":
            raise _refused(node, "leaves a value open, ???; write the value itself")
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Compose a mapping; a key that is repeated or not text is refused."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in KEYS:
                raise _refused(key, "has a key that is not text; put it in quotes")
            if key.value in seen:
                raise _refused(key, f"has the key {key.value!r} twice; remove one of them")
            seen.add(key.value)
        return node


class Writer(yaml.SafeDumper):
    """SafeDumper that quotes texts which Reader, or another YAML reader, would take for numbers."""


def _text(writer: Writer, value: str) -> ScalarNode:
    """Represent a text; one with line breaks or the like gets double quotes, because others would fold it."""
    style = None if plain(value) == value else '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style)


for _kind, (_rule, _first) in PLAIN.items():
    Reader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _rule, list(_first))
    Writer.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _rule, list(_first))
Writer.add_representer(str, _text)


def read_mapping(path: Path, holds: str) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Args:
        path: the file.
        holds: what has to be in it, for the message.

    Raises:
        UserError: one line with the file, the line and what is wrong there.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        text = data[:LARGEST].decode("utf-8-sig", "strict" if len(data) <= LARGEST else "replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: it is not a text in UTF-8") from error
    if len(data) > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST // 2**20} MiB, the limit for such files")
    values = parse(text, str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold {holds}")
    return values


def parse(text: str, where: str) -> Any:
    """Parse a YAML text to plain values.

    Args:
        text: one document; an empty one is None.
        where: the file or word it is from, for the message.
    """
    try:
        return yaml.load(text, Loader=Reader)  # Reader is a SafeLoader
    except Refused as error:
        raise UserError(f"{_place(error, text, where)} {error.problem}") from error
    except yaml.MarkedYAMLError as error:
        reason = f"{error.context or ''} {error.problem or ''}".strip()
        raise UserError(f"{_place(error, text, where)} is not valid YAML: {reason}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())[:160]}") from error


def dump(values: dict[str, Any]) -> str:
    """YAML text of plain values, in their order, that `parse` reads back."""
    return yaml.dump(values, Dumper=Writer, sort_keys=False, allow_unicode=True, width=1000)


def dump_inline(value: Any) -> str:
    """A plain value on one line, as in key=value on the command line."""
    options = {"sort_keys": False, "allow_unicode": True, "width": sys.maxsize}
    return yaml.dump([value], Dumper=Writer, default_flow_style=True, **options).strip()[1:-1]


def _refused(at: Any, problem: str) -> Refused:
    return Refused(problem=plain(problem), problem_mark=at.start_mark)


def _place(error: yaml.MarkedYAMLError, text: str, where: str) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{where}, line {mark.line + 1}," if mark and "\n" in text else where
