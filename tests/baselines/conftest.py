"""Few pairs of prompts, in the words of the tiny tokenizer: vectors of all of them take minutes."""

import pytest

from safediffusion.baselines import casteer


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casteer, "ADULTS", ("a", "a person"))
    monkeypatch.setattr(casteer, "CONTEXTS", casteer.CONTEXTS[3:4])
