"""The package stays a house with rooms: one import direction, small files, short signatures."""

from pathlib import Path

import pytest
from structure import SRC, Structure, measure, unused


@pytest.fixture(scope="module")
def found() -> Structure:
    return measure()


def test_imports_go_one_way(found: Structure) -> None:
    assert found.unordered_rooms == []  # every room has its place in the order
    assert found.wrong_way == []


def test_the_package_uses_every_module() -> None:
    """What tests or benchmarks alone need belongs to them."""
    assert unused() == []


def test_few_files_lie_beside_the_packages(found: Structure) -> None:
    assert found.top_entries <= 8


def test_every_folder_of_modules_is_a_package_that_says_what_it_is() -> None:
    for folder in {path.parent for path in SRC.rglob("*.py")}:
        assert (folder / "__init__.py").read_text(encoding="utf-8").startswith('"""'), folder


def test_files_and_functions_are_small(found: Structure) -> None:
    assert found.median_lines < 120 and found.most_lines <= 400 and found.p90_function < 20


def test_functions_have_at_most_seven_parameters(found: Structure) -> None:
    assert found.long_signatures == []


def test_every_signature_is_typed(found: Structure) -> None:
    assert found.typed == 1


def test_every_public_name_has_a_docstring(found: Structure) -> None:
    assert found.undocumented == []


def test_the_numbers_see_what_breaks_them(tmp_path: Path) -> None:
    src = tmp_path / "safediffusion"
    (src / "config").mkdir(parents=True)
    (src / "__init__.py").write_text('"""The package."""\n', encoding="utf-8")
    (src / "attic.py").write_text("def f(a: int, b, c, d, e, f, g, h) -> None: ...\n", encoding="utf-8")
    (src / "config/__init__.py").write_text(
        "from ..cli import app\nfrom ..files.atomic import write\n", encoding="utf-8"
    )
    options = "a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int"
    (src / "config/load.py").write_text(
        f"@app.command()\ndef run({options}) -> None: ...\n", encoding="utf-8"
    )
    found = measure(src)
    assert found.wrong_way == ["config -> cli"]
    assert found.unordered_rooms == ["attic"] and found.top_entries == 2 and found.rooms == 2
    assert found.long_signatures == ["attic:f (8)"] and found.untyped == ["attic:f"]
    assert set(found.undocumented) == {"attic:", "attic:f", "config:", "config.load:", "config.load:run"}
    assert unused(src) == ["attic", "config.load"]
