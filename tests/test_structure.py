"""The package stays a house with rooms: one import direction, small files, short signatures."""

import pytest
from structure import SRC, Structure, measure


@pytest.fixture(scope="module")
def found() -> Structure:
    return measure()


def test_imports_go_one_way(found: Structure) -> None:
    assert found.wrong_way == []


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
