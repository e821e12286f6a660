"""The documentation's table of protocols is the protocols' own; test_extensions.py runs its examples."""

import re
from pathlib import Path

from tests.evaluation.test_protocols import KNOWN

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_table_shows_the_known_numbers():
    rows = re.findall(r"^\| ([a-z0-9-]+) \|.*\| (\d+) \|$", PAGE, re.MULTILINE)
    assert {name: int(value) for name, value in rows} == KNOWN
