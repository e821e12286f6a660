"""docs/security.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 25
    assert not {name for name in named if f"def {name}(" not in sources}


def test_the_page_names_every_test_file_of_guards() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")}
    for stem, text in files.items():
        tests = re.findall(r"def (test_\w+)\(", text)
        assert stem == "test_page" or f"{stem}.py" in PAGE or any(name in PAGE for name in tests), stem
