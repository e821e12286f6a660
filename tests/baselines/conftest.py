"""A fresh tiny model for each test: methods change weights in place. Few pairs: all take minutes."""

from collections.abc import Callable
from typing import Any

import pytest

from safediffusion.baselines import casteer
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.load import as_diffuser
from tests.pipelines import FAMILIES

Fresh = Callable[..., Diffuser]


@pytest.fixture
def fresh() -> Fresh:
    """A model of a family of tests/pipelines.py."""

    def make(family: str = "sd", **options: Any) -> Diffuser:
        return as_diffuser(FAMILIES[family](**options))

    return make


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of prompts in the words of the tiny tokenizer."""
    monkeypatch.setattr(casteer, "ADULTS", ("a", "a person"))
    monkeypatch.setattr(casteer, "CONTEXTS", casteer.CONTEXTS[3:4])
