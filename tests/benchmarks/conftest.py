"""Judges of random weights where World's would be."""

from tests.evaluation.conftest import judges, tiny_assets

__all__ = ["judges", "tiny_assets"]
