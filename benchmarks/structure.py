"""The package's structure in numbers: entries at the top, import direction, sizes, signatures, docstrings.

    python benchmarks/structure.py [--src src/safediffusion] [--json]
    python benchmarks/structure.py --commit 02d81ba     # before and after: writes results/structure.json

The source is read as text and never run. tests/test_structure.py holds the same numbers to their limits.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from training_runs import markdown, write_result

ROOT = Path(__file__).parents[1]
PACKAGE = "src/safediffusion"
SRC = ROOT / PACKAGE

# Rooms from the bottom up; a module imports from its own room and from those before it.
# Rooms of one line stand beside each other and do not import each other.
FLOORS = (
    ("errors", "version"),
    ("statistics", "text"),
    ("system", "world"),
    ("files",),
    ("config",),
    ("diffusion",),
    ("world.networks", "prompts"),
    ("steering",),
    ("baselines",),
    ("models",),
    ("training", "evaluation"),
    ("report",),
    ("publish", "run"),
    ("launch", "unexpected"),
    ("ui",),
    ("cli",),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
MOST_PARAMETERS = 7

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Structure:
    """The counts of one package.

    Attributes:
        modules: Python files that are not empty.
        top_entries: files beside the packages.
        rooms: modules and packages at the top, and the rooms that FLOORS names below them.
        arrows: pairs of rooms of which the first imports the second.
        wrong_way: imports from a room above or beside, as "module -> module". Modules of a room that
            FLOORS does not name are not counted: only the present layout has an order.
        unordered_rooms: rooms that FLOORS does not name.
        long_signatures: functions with more than seven parameters.
        median_lines, most_lines: of a module.
        p90_function: lines of a function, 90th percentile.
        typed: share of signatures that are typed in full.
        documented: share of modules and public names that have a docstring.
        untyped, undocumented: the others, as module:name.
    """

    modules: int
    top_entries: int
    rooms: int
    arrows: int
    wrong_way: list[str]
    unordered_rooms: list[str]
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


def imports(tree: ast.AST, name: str, is_package: bool, names: bool = False) -> Iterator[str]:
    """Modules of the package that a module imports, also inside functions; dotted names below the package.

    Args:
        tree: of the module.
        name: of the module, below the package.
        is_package: whether the module is the __init__.py of a package.
        names: yield "module.name" for each name that is imported from a module: it may be a module too.
    """
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
            for alias in node.names:
                yield f"{base}.{alias.name}".lstrip(".") if names else base or alias.name


def unused(src: Path = SRC) -> list[str]:
    """Modules that no other module of the package imports, or names in a text such as "pkg.mod:attribute".

    The text of a package may also name a module below it, as in "mod:attribute".

    Packages are not counted, and neither is __main__, which Python starts.
    """
    used: set[str] = {"__main__"}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(src.rglob("*.py"))}
    for path, tree in trees.items():
        name, is_package = name_of(path, src), path.name == "__init__.py"
        used.update(imports(tree, name, is_package), imports(tree, name, is_package, names=True))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        named = [
            text.partition(":")[0].removeprefix("safediffusion.") for text in texts if isinstance(text, str)
        ]
        used.update(named, (f"{name}.{module}" for module in named if is_package))
    every = (name_of(path, src) for path in trees if path.name != "__init__.py")
    return [name for name in every if name not in used]


def room(module: str) -> str:
    """The room of a module: the longest name of FLOORS that it begins with; else its top package."""
    first, _, rest = module.partition(".")
    second = f"{first}.{rest.partition('.')[0]}"
    return second if second in FLOOR else first


def wrong_way(module: str, target: str) -> bool:
    """Whether an import goes up, or sideways into another room; the package itself is free."""
    here, there = room(module), room(target)
    return here != there and here in FLOOR and there in FLOOR and FLOOR[there] >= FLOOR[here]


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
    """Whether the parameters are a command's options: typer builds the command line from the signature."""
    calls = [d.func for d in function.decorator_list if isinstance(d, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr in ("command", "callback") for call in calls)


def measure(src: Path = SRC) -> Structure:
    """Count one package.

    Args:
        src: the folder of the package.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(src.rglob("*.py"))}
    trees = {path: ast.parse(text, str(path)) for path, text in texts.items()}
    names = {path: name_of(path, src) for path in texts}
    lines = [len(text.splitlines()) for text in texts.values() if text.strip()]
    links = [
        (name, target)
        for path, name in names.items()
        for target in dict.fromkeys(imports(trees[path], name, path.name == "__init__.py"))
    ]
    pairs = {(room(name), room(target)) for name, target in links}
    rooms = {room(name) for name in names.values()} - {"", "__main__"}
    found = [(names[path], *function) for path, tree in trees.items() for function in functions(tree)]
    sizes = [(f.end_lineno or f.lineno) - f.lineno + 1 for _, f, _ in found]
    untyped = [f"{name}:{f.name}" for name, f, is_method in found if not is_typed(f, is_method)]
    documentable = [(names[path], node) for path, tree in trees.items() for node in (tree, *public(tree))]
    undocumented = [
        f"{name}:{getattr(node, 'name', '')}"
        for name, node in documentable
        if ast.get_docstring(node) is None
    ]
    return Structure(
        modules=len(lines),
        top_entries=sum(1 for entry in src.iterdir() if entry.is_file()),
        rooms=len(rooms),
        arrows=sum(1 for here, there in pairs if here in rooms and there in rooms and here != there),
        wrong_way=[f"{name} -> {target}" for name, target in links if wrong_way(name, target)],
        unordered_rooms=sorted(rooms - set(FLOOR)),
        long_signatures=[f"{name}:{f.name} ({n})" for name, f, m in found if (n := too_many(f, m))],
        median_lines=median(lines),
        most_lines=max(lines),
        p90_function=quantiles(sizes, n=10)[-1],
        typed=1 - len(untyped) / len(sizes),
        documented=1 - len(undocumented) / len(documentable),
        untyped=untyped,
        undocumented=undocumented,
    )


def is_typed(function: Function, is_method: bool) -> bool:
    """Whether every parameter and the returned value have a type."""
    return function.returns is not None and all(p.annotation for p in parameters(function, is_method))


def too_many(function: Function, is_method: bool) -> int:
    """The number of parameters where it is more than seven and not a command's options; else 0."""
    n = len(parameters(function, is_method))
    return n if n > MOST_PARAMETERS and not is_command(function) else 0


def public(tree: ast.Module) -> Iterator[ast.ClassDef | Function]:
    """Public functions and classes of a module, and public methods of those classes.

    A method that overrides a documented one counts too: a reader sees it where it is.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (m for m in node.body if isinstance(m, Function) and not m.name.startswith("_"))


# What the table shows, in order: a name of Structure and the words for it.
ROWS = {
    "modules": "modules",
    "top_entries": "files beside the packages",
    "rooms": "rooms",
    "arrows": "rooms that import another room, in pairs",
    "wrong_way": "imports against the order of rooms",
    "long_signatures": f"functions with more than {MOST_PARAMETERS} parameters",
    "median_lines": "lines of a module, median",
    "most_lines": "lines of a module, maximum",
    "p90_function": "lines of a function, 90th percentile",
    "typed": "signatures typed in full",
    "documented": "modules and public names with a docstring",
}


def show(found: dict[str, Any], name: str) -> str:
    """One count as the table has it; the order of rooms is unknown where rooms are not in FLOORS."""
    value = found[name]
    if name == "wrong_way" and found["unordered_rooms"]:
        return "no order"
    if name in ("typed", "documented"):
        return f"{value:.1%}"
    return str(len(value) if isinstance(value, list) else round(value))


def table(result: dict[str, Any]) -> str:
    """Before and after, from structure.json."""
    before, after = result["before"], result["after"]
    rows = [(words, show(before, name), show(after, name)) for name, words in ROWS.items()]
    return markdown(("", f"`{result['before_commit']}`", "now"), rows)


def measure_commit(commit: str) -> Structure:
    """Count the package as a commit of this repository has it."""
    archive = subprocess.run(
        ["git", "archive", commit, PACKAGE], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        return measure(Path(folder) / PACKAGE)


def main() -> None:
    """Print the counts of one package, or write the comparison of two commits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--src", type=Path, default=SRC, help="the folder of the package")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--commit", help="compare with the package of this commit; write the result")
    words = parser.parse_args()
    found = asdict(measure(words.src))
    if words.commit:
        command = f"python benchmarks/structure.py --commit {words.commit}"
        before = asdict(measure_commit(words.commit))
        result = {"command": command, "before_commit": words.commit, "before": before, "after": found}
        path = write_result("structure", result)
        print(f"{table(result)}\n{path}")
    elif words.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            if isinstance(value, list):
                print(f"{name:<16} {len(value)}", *value, sep="\n  ")
            else:
                print(f"{name:<16} {value:.3g}" if isinstance(value, float) else f"{name:<16} {value}")


if __name__ == "__main__":
    main()
