"""The table of docs/evaluation.md is the suite's own, and it names every protocol's release."""

from pathlib import Path

from safediffusion.evaluation.protocols import PROTOCOLS

from .compared import COMPARED

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_docs_show_what_was_compared_on_how_many_cases():
    table = "\n".join(comparison.row() for comparison in COMPARED.values())
    assert table in PAGE, f"docs/evaluation.md must hold this table:\n{table}"


def test_docs_say_where_every_protocol_comes_from():
    for name, protocol in PROTOCOLS.items():
        assert f"`{name}`" in PAGE and protocol.source in PAGE, (name, protocol.source)
