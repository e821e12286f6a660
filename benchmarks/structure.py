"""The package's structure in numbers: entries at the top, import direction, sizes, signatures, docstrings.

    python benchmarks/structure.py [--src src/safediffusion] [--json]

Reads the source as text and runs none of it. tests/test_structure.py holds the same numbers to their limits.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

SRC = Path(__file__).parents[1] / "src" / "safediffusion"

# Rooms from the bottom up; a module imports from its own room and from those before it.
# Rooms of one line stand beside each other and do not import each other.
FLOORS = (
    ("errors", "version"),
    ("text",),
    ("files", "world"),
    ("system", "config"),
    ("diffusion",),
    ("world.networks", "prompts"),
    ("steering",),
    ("training", "evaluation"),
    ("report",),
    ("publish", "run"),
    ("launch",),
    ("cli",),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
MOST_PARAMETERS = 7

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Structure:
    """What was counted.

    Attributes:
        top_entries: files beside the packages.
        wrong_way: imports from a room above or beside, as "module -> module".
        long_signatures: functions with more than seven parameters.
        median_lines, most_lines: of a module.
        p90_function: lines of a function, 90th percentile.
        typed: share of signatures that are typed in full.
        documented: share of modules and public names that have a docstring.
        untyped, undocumented: the others, as module:name.
    """

    modules: int
    top_entries: int
    wrong_way: list[str]
    long_signatures: list[str]
    median_lines: float
    most_lines: int
    p90_function: float
    typed: float
    documented: float
    untyped: list[str]
    undocumented: list[str]


def name_of(path: Path, src: Path) -> str:
    """Dotted name of a module below the package; "" is the package itself."""
    parts = path.relative_to(src).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, name: str, is_package: bool) -> Iterator[str]:
    """Modules of the package that a module imports, also inside functions; dotted names below the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name.partition(".")[2] for a in node.names if a.name.startswith("safediffusion."))
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").removeprefix("safediffusion").lstrip(".")
            if node.level:
                parts = name.split(".") if name else []
                up = node.level - is_package
                base = ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])
            elif not (node.module or "").startswith("safediffusion"):
                continue
            yield from (base or alias.name for alias in node.names)


def room(module: str) -> str:
    """The room of a module: the longest name of FLOORS that it begins with; else its top package."""
    first, _, rest = module.partition(".")
    second = f"{first}.{rest.partition('.')[0]}"
    return second if second in FLOOR else first


def wrong_way(module: str, target: str) -> bool:
    """Whether an import goes up, or sideways into another room; a room on no floor lies above all."""
    here, there = room(module), room(target)
    if here in ("", "__main__") or there in (here, ""):
        return False
    top = len(FLOORS)
    return FLOOR.get(there, top) >= FLOOR.get(here, top)


def functions(tree: ast.AST) -> Iterator[tuple[Function, bool]]:
    """Functions, and whether each is a method."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield child, isinstance(node, ast.ClassDef)


def parameters(function: Function, is_method: bool) -> list[ast.arg]:
    """All parameters except self and cls."""
    a = function.args
    every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    return every[1:] if is_method and not static else every


def is_command(function: Function) -> bool:
    """Whether the parameters are the options of a command."""
    calls = [d.func for d in function.decorator_list if isinstance(d, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr in ("command", "callback") for call in calls)


def measure(src: Path = SRC) -> Structure:
    """Count one package."""
    lines: list[int] = []
    sizes: list[int] = []
    wrong: list[str] = []
    long: list[str] = []
    untyped: list[str] = []
    undocumented: list[str] = []
    names = 0
    for path in sorted(src.rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), name_of(path, src)
        tree = ast.parse(text)
        if text.strip():
            lines.append(len(text.splitlines()))
        documentable: list[ast.Module | ast.ClassDef | Function] = [tree, *public(tree)]
        names += len(documentable)
        undocumented += [
            f"{name}:{getattr(node, 'name', '')}" for node in documentable if ast.get_docstring(node) is None
        ]
        found = dict.fromkeys(imports(tree, name, path.name == "__init__.py"))
        wrong += [f"{name} -> {target}" for target in found if wrong_way(name, target)]
        for function, is_method in functions(tree):
            asked = parameters(function, is_method)
            sizes.append((function.end_lineno or function.lineno) - function.lineno + 1)
            if function.returns is None or not all(p.annotation for p in asked):
                untyped.append(f"{name}:{function.name}")
            if len(asked) > MOST_PARAMETERS and not is_command(function):
                long.append(f"{name}:{function.name} ({len(asked)})")
    return Structure(
        modules=len(lines),
        top_entries=sum(1 for entry in src.iterdir() if entry.is_file()),
        wrong_way=wrong,
        long_signatures=long,
        median_lines=median(lines),
        most_lines=max(lines),
        p90_function=quantiles(sizes, n=10)[-1],
        typed=1 - len(untyped) / len(sizes),
        documented=1 - len(undocumented) / names,
        untyped=untyped,
        undocumented=undocumented,
    )


def public(tree: ast.Module) -> Iterator[ast.ClassDef | Function]:
    """Public functions and classes of a module, and public methods of those classes.

    A method that overrides one whose docstring is inherited still counts: readers see it where it is.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (m for m in node.body if isinstance(m, Function) and not m.name.startswith("_"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--src", type=Path, default=SRC, help="the package's folder")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args()
    found = asdict(measure(asked.src))
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if isinstance(value, list):
            print(f"{name:<16} {len(value)}", *value, sep="\n  ")
        else:
            print(f"{name:<16} {value:.3g}" if isinstance(value, float) else f"{name:<16} {value}")


if __name__ == "__main__":
    main()
