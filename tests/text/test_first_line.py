"""Errors of libraries as one line."""

from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.first_line import first_line


def test_only_the_first_line_is_kept() -> None:
    assert first_line(ValueError("\n cause \n much more")) == "cause"


def test_a_long_line_is_shortened() -> None:
    assert first_line(ValueError("x" * 500), most=20) == "x" * 17 + "..."


def test_an_error_without_text_is_named_by_its_class() -> None:
    assert first_line(OSError()) == "OSError"


def test_the_closest_name_is_suggested_and_all_names_where_none_is_close() -> None:
    assert did_you_mean("wrold", ["world", "sd14"]) == "did you mean world?"
    assert did_you_mean("xyz", ["world", "sd14"]) == "known: world, sd14"
